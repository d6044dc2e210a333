"""IPM with the epsilon that hurts the server's own rule most."""

import torch

from fedsim.attacks.base import AttackView, attacks
from fedsim.attacks.perturbation import SHEJWALKAR_2021
from fedsim.attacks.probe import Line
from fedsim.attacks.tailored import ALLOUAH_2023, TailoredAttack
from fedsim.registry import Reference


@attacks.register(
    "opt_ipm",
    ALLOUAH_2023,
    SHEJWALKAR_2021,
    Reference(
        authors="Xie, Koyejo and Gupta",
        title="Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product Manipulation",
        year=2019,
        venue="UAI",
        url="https://arxiv.org/abs/1903.03936",
    ),
)
class OptimisedIPM(TailoredAttack):
    """Minus epsilon times the honest mean, with the epsilon that moves the server's real aggregate furthest.

    >>> from fedsim.aggregators import build_aggregator
    >>> honest, own = torch.tensor([[1.0], [2.0], [3.0]]), torch.zeros(1, 1)
    >>> attack = OptimisedIPM()
    >>> rows = attack(AttackView(honest=honest, own=own, aggregator=build_aggregator("fedavg")))
    >>> attack.diagnostics["epsilon"] > 1e5    # a mean can be carried anywhere
    True
    """

    parameter = "epsilon"
    first_step = 1.0

    def line_and_parent(self, view: AttackView) -> tuple[Line, float]:
        mean = view.honest.mean()
        return Line(torch.zeros_like(mean), -mean), 1.3
