"""Attacks with one parameter, fitted to the server's real defence by trying it out."""

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor

from fedsim.attacks.base import Attack, AttackView
from fedsim.attacks.probe import Line, search_largest
from fedsim.registry import Reference

ALLOUAH_2023 = Reference(
    authors="Allouah et al.",
    title="Fixing by Mixing: A Recipe for Optimal Byzantine ML under Heterogeneity",
    year=2023,
    venue="AISTATS",
    url="https://arxiv.org/abs/2302.01772",
)

PROBES = 20
"""How often the defence is tried in a round, the parent's parameter included."""


class TailoredAttack(Attack):
    """Rows x(gamma) on a line, with the gamma that moves the aggregate furthest from the honest mean.

    All B Byzantine clients send the x(gamma) = base + gamma direction of the largest deviation

        J(gamma) = ||mu - A(g_1, ..., g_H, x(gamma), ..., x(gamma))||

    among 20 tries, A being a copy of the server's defence, g_i the H honest rows and mu their mean. One try is the
    parameter of the attack's untailored parent, if it has one, so that it is at least as strong [ours]; the others
    search from gamma = 0 with a first step of :attr:`first_step`: see
    :func:`~fedsim.attacks.probe.search_largest`.
    """

    probes = True

    parameter: ClassVar[str]
    """What gamma is called."""

    first_step: ClassVar[float]

    @abstractmethod
    def line_and_parent(self, view: AttackView) -> tuple[Line, float | None]:
        """The line, and the parent's gamma on it if there is a parent."""

    def craft(self, view: AttackView) -> Tensor:
        line, parent = self.line_and_parent(view)
        deviation = view.probe().deviation_along(line)
        gamma, reached = search_largest(deviation, PROBES - (parent is not None), self.first_step)
        if parent is not None and (by_parent := deviation(parent)) > reached:
            gamma, reached = parent, by_parent
        self.diagnostics = {self.parameter: gamma, "deviation": reached}
        return line.at(gamma)
