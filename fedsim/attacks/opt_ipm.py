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
    """IPM with the epsilon that moves the server's real aggregate furthest from the honest mean.

    All B Byzantine clients send x = -epsilon mu with the epsilon, among 20 tries in every round, of the largest

        J(epsilon) = ||mu - A(g_1, ..., g_H, x, ..., x)||,

    g_i being the H honest rows, mu [D] their mean and A a copy of the server's defence with its state,
    pre-aggregators and momentum. The first try is epsilon = 0, the first step 1; it doubles while J grows and shrinks
    to 0.8 of itself after that. One try is epsilon = 1.3, the default of ``ipm``, so that this attack is never
    outdone by it [ours].

    Against a rule that a single row can carry anywhere, such as the mean, epsilon grows as far as the tries allow; a
    rule that rejects long rows keeps it near where x is still accepted. The row always points against mu, so a rule
    that compares directions has something to see.

    Allouah et al. choose the factor in every round as well, after Shejwalkar and Houmansadr; the search here, its
    number of tries and its steps are ours, the same for all attacks of this kind.

    >>> from fedsim.aggregators import build_aggregator
    >>> honest, own = torch.tensor([[1.0], [2.0], [3.0]]), torch.zeros(1, 1)
    >>> attack = OptimisedIPM()
    >>> rows = attack(AttackView(honest=honest, own=own, aggregator=build_aggregator("fedavg")))
    >>> attack.diagnostics["epsilon"] > 1e5    # a mean can be carried anywhere
    True
    """

    parameter = "epsilon"
    first_step = 1.0
    shardable = True

    def line_and_parent(self, view: AttackView) -> tuple[Line, float]:
        mean = view.honest.mean()
        return Line(torch.zeros_like(mean), -mean), 1.3
