"""Krum: the update closest to its neighbours."""

import warnings

import torch
from torch import Tensor

from fedsim.aggregators.base import Diagnostics, TolerantAggregator, aggregators
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.round_context import RoundContext
from fedsim.update_matrix import UpdateMatrix

TIE = 1e-12
"""Scores closer than this, relatively, differ by the rounding of a float64 sum only."""


def krum_scores(squared_distances: Tensor, f: int) -> Tensor:
    """Score [n] of each row: the sum of its n-f-2 (at least one) smallest distances to other rows.

    Args:
        squared_distances: [n, n], zero diagonal.
        f: how many Byzantine rows to defend against.

    >>> krum_scores(torch.tensor([[0.0, 1.0, 9.0], [1.0, 0.0, 4.0], [9.0, 4.0, 0.0]]), f=0)
    tensor([1., 1., 4.])
    """
    n = len(squared_distances)
    if n == 1:
        return torch.zeros_like(squared_distances[0])
    others = squared_distances.clone().fill_diagonal_(torch.inf)
    neighbours = min(max(1, n - f - 2), n - 1)
    return others.sort(dim=1).values[:, :neighbours].sum(1)


@aggregators.register("krum", paper="Blanchard et al. 2017, Machine Learning with Adversaries")
class Krum(TolerantAggregator):
    """The one update whose K-f-2 nearest neighbours are closest; f <= (K-3)/2, ties to the lower id.

    >>> Krum(num_byzantine=1)(torch.tensor([[1.0], [1.5], [2.0], [2.25], [-50.0]]))
    tensor([2.])
    """

    commutes_with_rotations = True

    largest_f = staticmethod(lambda num_rows: (num_rows - 3) // 2)

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        scores = krum_scores(updates.squared_distances(), self.f(updates.num_rows, context.dropped))
        limit = float(scores.min()) * (1 + TIE)
        tied = [row for row, score in enumerate(scores.tolist()) if score <= limit]
        chosen = min(tied, key=lambda row: context.client_ids[row])
        weights = torch.zeros(updates.num_rows)
        weights[chosen] = 1
        self.diagnostics = Diagnostics(per_client={"score": scores, "selected": weights}, trust=weights)
        return updates.row(chosen).clone()

    def f(self, num_rows: int, dropped: int) -> int:
        """f as set, even beyond what the proof allows: Krum then works with at least one neighbour."""
        wanted = self.settings.num_byzantine
        return max(0, wanted - dropped) if isinstance(wanted, int) else self.tolerated(num_rows, dropped)

    def check(self, num_rows: int) -> None:
        try:
            super().check(num_rows)
        except ConfigError as error:
            warnings.warn(
                f"aggregator.{error}; Krum goes on with at least one neighbour", FedsimWarning, stacklevel=2
            )
