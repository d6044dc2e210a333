"""Min-Max without its constraint: fitted to the server's own rule."""

from pydantic import Field

from fedsim.attacks.base import AttackView, attacks
from fedsim.attacks.min_max import min_max_gamma
from fedsim.attacks.perturbation import DIRECTION_HELP, SHEJWALKAR_2021, Direction, perturbation
from fedsim.attacks.probe import Line
from fedsim.attacks.tailored import TailoredAttack
from fedsim.settings import Schema


@attacks.register(
    "agr_tailored",
    SHEJWALKAR_2021,
)
class AgrTailored(TailoredAttack):
    """The honest mean, shifted by the amount that moves the server's real aggregate furthest from it.

    All B Byzantine clients send x = mu + gamma p with the gamma, among 20 tries in every round, of the largest

        J(gamma) = ||mu - A(g_1, ..., g_H, x, ..., x)||,

    g_i being the H honest rows, mu [D] their mean, p [D] the ``direction`` of ``min_max`` and A a copy of the
    server's defence with its state, pre-aggregators and momentum. The first try is gamma = 0; the step starts at 10,
    doubles while J grows, and shrinks to 0.8 of itself after that, on alternating sides of the best gamma so far. One
    try is the gamma of Min-Max, so that this attack is at least as strong, by J [ours].

    It needs to know the rule. It gains little where no gamma carries A away from mu, and a rule that draws at random
    is tried with the attacker's own draws, which are not the server's.

    The original searches with a step that is halved in every try. The FedSECA paper reports this attack as "MinMax
    (agr-updates)"; in its released code mu is the mean of all K clean rows, each attacker replaces only its own row
    in a try, gamma ends between 10 and 15, and the row of the last try is sent. Here all B rows are tried together,
    as they are sent, and the best one counts.

    >>> import torch
    >>> from fedsim.aggregators import build_aggregator
    >>> view = AttackView(
    ...     honest=torch.tensor([[1.0], [2.0], [3.0]]), own=torch.zeros(1, 1), aggregator=build_aggregator("cwmed")
    ... )
    >>> bool(AgrTailored()(view) <= 1)    # where the (lower) median becomes 1
    True
    """

    class Settings(Schema):
        direction: Direction = Field("unit", description=DIRECTION_HELP)

    settings: Settings
    parameter = "gamma"
    first_step = 10.0

    def line_and_parent(self, view: AttackView) -> tuple[Line, float]:
        found = perturbation(view.honest, self.settings.direction)
        return found.line, min_max_gamma(found)
