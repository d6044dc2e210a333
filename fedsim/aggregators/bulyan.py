"""Bulyan: Krum again and again, then the mean around the median of what it selected."""

import torch
from torch import Tensor

from fedsim.aggregators.base import Diagnostics, TolerantAggregator, aggregators
from fedsim.aggregators.meamed import mean_around_median
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.neighbours import krum_selection


@aggregators.register("bulyan")
class Bulyan(TolerantAggregator):
    """Mean of the K-4f values of every coordinate nearest to the median of K-2f updates that Krum selects.

    K-2f rounds of Krum, with scores recomputed on what remains; then, coordinate by coordinate, the mean
    around the (lower) median of the selected updates. It needs K >= 4f+3; ``num_byzantine`` among the
    diagnostics is the f used.

    >>> Bulyan(num_byzantine=1)(torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [100.0]]))
    tensor([3.])
    """

    largest_f = staticmethod(lambda num_rows: (num_rows - 3) // 4)

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        f = self.tolerated(updates.num_rows, context.dropped)
        rounds = updates.num_rows - 2 * f
        selected = krum_selection(updates.squared_distances().cpu(), f, rounds, context.client_ids)
        weights = torch.zeros(updates.num_rows)
        weights[selected] = 1
        self.diagnostics = Diagnostics(
            per_client={"selected": weights}, scalars={"num_byzantine": float(f)}, trust=weights
        )
        return mean_around_median(updates.select(selected), rounds - 2 * f)
