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
    """The honest mean, pushed as far as moves the server's real aggregate furthest from it.

    x = mean + gamma p with the gamma of 20 tries on a copy of the defence (pre-aggregators and momentum included)
    that makes ||mean - A(honest and B times x)|| largest. This is "MinMax (agr-updates)" of the FedSECA paper.

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
