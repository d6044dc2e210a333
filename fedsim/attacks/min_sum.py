"""Min-Sum: as far from the honest mean as the sum of distances allows."""

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


def min_sum_gamma(found: Perturbation) -> float:
    """The largest gamma with sum_i ||x - g_i||^2 <= max_i sum_j ||g_i - g_j||^2, in closed form."""
    room = found.squared_distances.sum(1).max() - found.to_mean.sum()
    count = len(found.to_mean)
    return largest_gamma(found.along.sum()[None] / count, found.squared_length, room[None] / count)


@attacks.register(
    "min_sum",
    SHEJWALKAR_2021,
)
class MinSum(Attack):
    """The honest mean, shifted until its squared distances to the honest rows sum to the largest such sum of a row.

    All B Byzantine clients send x = mu + gamma p with the largest gamma for which

        sum_i ||x - g_i||^2  <=  max_i sum_j ||g_i - g_j||^2,

    g_i being the H honest rows, mu [D] their mean and p [D] the ``direction``: -mu / ||mu|| (``unit``), -sgn(mu)
    (``sign``) or minus the unbiased standard deviation of each coordinate (``std``). Where p = 0, x = mu.

    With a_i = ||mu - g_i||^2, b_i = p . (mu - g_i), P = ||p||^2 and S the right-hand side,

        gamma = (-sum_i b_i + sqrt((sum_i b_i)^2 + H P (S - sum_i a_i))) / (H P).

    The bound is one on sums of squares, as in Krum's score, so x stays inconspicuous to rules of that kind; gamma
    vanishes with the spread of the honest rows, and the B rows are equal, which a rule may look for.

    The original finds gamma by a search that halves its step; here the quadratic is solved exactly. Its text and this
    class take the maximum over i on the right-hand side, its released code the minimum, a stricter bound.

    >>> import torch
    >>> honest = torch.tensor([[1.0], [2.0], [3.0]])
    >>> attack = MinSum()
    >>> rows = attack(AttackView(honest=honest, own=torch.zeros(1, 1)))
    >>> round(attack.diagnostics["gamma"], 6)    # 3 gamma^2 + 2 = 1 + 4
    1.0
    """

    class Settings(Schema):
        direction: Direction = Field("unit", description=DIRECTION_HELP)

    settings: Settings
    shardable = True

    def craft(self, view: AttackView) -> Tensor:
        found = perturbation(view.honest, self.settings.direction)
        gamma = min_sum_gamma(found)
        self.diagnostics = {"gamma": gamma}
        return found.line.at(gamma)
