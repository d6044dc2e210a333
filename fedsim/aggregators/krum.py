"""Krum: the update closest to its neighbours."""

import warnings

import torch
from torch import Tensor

from fedsim.aggregators.base import Diagnostics, TolerantAggregator, aggregators
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.neighbours import krum_scores
from fedsim.updates.rounding import TIE


@aggregators.register("krum")
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
