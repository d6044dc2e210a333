"""STAT-OPT: against the sign of the honest mean, as far as the server's own rule can be carried."""

import torch

from fedsim.attacks.base import AttackView, attacks
from fedsim.attacks.fang import FANG
from fedsim.attacks.probe import Line
from fedsim.attacks.tailored import TailoredAttack
from fedsim.registry import Reference


@attacks.register(
    "statopt",
    FANG,
    Reference(
        authors="Shejwalkar, Houmansadr, Kairouz and Ramage",
        title="Back to the Drawing Board: A Critical Evaluation of Poisoning Attacks on Production Federated "
        "Learning",
        year=2022,
        venue="IEEE S&P",
        url="https://arxiv.org/abs/2108.10241",
    ),
)
class StatOpt(TailoredAttack):
    """Minus the sign of the honest mean, by the factor that moves the server's real aggregate furthest.

    All B Byzantine clients send x = -gamma sgn(mu) with the gamma, among 20 tries in every round, of the largest

        J(gamma) = ||mu - A(g_1, ..., g_H, x, ..., x)||,

    g_i being the H honest rows, mu [D] their mean and A a copy of the server's defence with its state,
    pre-aggregators and momentum. The first try is gamma = 0, the first step 10; it doubles while J grows and shrinks
    to 0.8 of itself after that.

    Every coordinate has the same magnitude, so that a rule which looks at norms or at the spread within a coordinate
    has something to see; unlike ``fang``, it leaves nothing of the honest mean in the row.

    Fang et al. introduced the direction, against rules of their own choice; Shejwalkar et al. named the attack
    STAT-OPT. The search for gamma is that of ``agr_tailored`` here [ours]. A mean of zero gives zero rows.

    >>> from fedsim.aggregators import build_aggregator
    >>> honest, own = torch.tensor([[1.0], [2.0], [3.0]]), torch.zeros(1, 1)
    >>> attack = StatOpt()
    >>> rows = attack(AttackView(honest=honest, own=own, aggregator=build_aggregator("cwmed")))
    >>> float(rows) == -attack.diagnostics["gamma"], attack.diagnostics["deviation"]    # the median becomes 1
    (True, 1.0)
    """

    parameter = "gamma"
    first_step = 10.0
    shardable = True

    def line_and_parent(self, view: AttackView) -> tuple[Line, None]:
        mean = view.honest.mean()
        return Line(torch.zeros_like(mean), -mean.sign()), None
