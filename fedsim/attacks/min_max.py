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
    """The honest mean pushed so far that its largest distance to an honest row is that between two honest rows.

    All B Byzantine clients send x = mu + gamma p with the largest gamma for which

        max_i ||x - g_i||^2  <=  max_ij ||g_i - g_j||^2,

    g_i being the H honest rows, mu [D] their mean and p [D] the ``direction``: -mu / ||mu|| (``unit``), -sgn(mu)
    (``sign``) or minus the unbiased standard deviation of each coordinate (``std``). The attack knows the honest rows
    but not the server's rule. Where p = 0, x = mu.

    With a_i = ||mu - g_i||^2, b_i = p . (mu - g_i), P = ||p||^2 and d^2 the right-hand side,

        gamma = min_i (-b_i + sqrt(b_i^2 + P (d^2 - a_i))) / P.

    The row is no outlier by distances to any honest row, but it gains only as much as these differ: gamma vanishes
    with their spread. The B rows are equal, and closer to each other than honest rows are, which a rule may look for.

    The original finds gamma by a search that halves its step until a threshold; the inequality is quadratic in gamma
    for each i, so here it is solved exactly. The column MinMax of the FedSECA paper is ``agr_tailored``.

    >>> import torch
    >>> honest = torch.tensor([[1.0], [2.0], [3.0]])
    >>> MinMax()(AttackView(honest=honest, own=torch.zeros(1, 1)))    # not further than 2 from 3
    tensor([[1.]])
    """

    class Settings(Schema):
        direction: Direction = Field("unit", description=DIRECTION_HELP)

    settings: Settings
    shardable = True

    def craft(self, view: AttackView) -> Tensor:
        found = perturbation(view.honest, self.settings.direction)
        gamma = min_max_gamma(found)
        self.diagnostics = {"gamma": gamma}
        return found.line.at(gamma)
