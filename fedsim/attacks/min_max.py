"""Min-Max: as far from the honest mean as no honest update is from another."""

from pydantic import Field
from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks
from fedsim.attacks.perturbation import (
    DIRECTION_HELP,
    SHEJWALKAR_2021,
    Direction,
    Perturbation,
    largest_gamma,
    perturbation,
)
from fedsim.settings import Schema


def min_max_gamma(found: Perturbation) -> float:
    """The largest gamma with max_i ||x - g_i||^2 <= max_ij ||g_i - g_j||^2, in closed form."""
    return largest_gamma(found.along, found.squared_length, found.squared_distances.max() - found.to_mean)


@attacks.register(
    "min_max",
    SHEJWALKAR_2021,
)
class MinMax(Attack):
    """The honest mean, pushed as far as its largest distance to an honest update stays within theirs.

    x = mean + gamma p with the largest gamma for which max_i ||x - g_i|| <= max_ij ||g_i - g_j||. For each i this
    is a quadratic inequality in gamma, so no search is needed.

    >>> import torch
    >>> honest = torch.tensor([[1.0], [2.0], [3.0]])
    >>> MinMax()(AttackView(honest=honest, own=torch.zeros(1, 1)))    # not further than 2 from 3
    tensor([[1.]])
    """

    class Settings(Schema):
        direction: Direction = Field("unit", description=DIRECTION_HELP)

    settings: Settings

    def craft(self, view: AttackView) -> Tensor:
        found = perturbation(view.honest, self.settings.direction)
        gamma = min_max_gamma(found)
        self.diagnostics = {"gamma": gamma}
        return found.line.at(gamma)
