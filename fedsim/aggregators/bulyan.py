"""Bulyan: Krum again and again, then the mean around the median of what it selected."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fedsim.aggregators.base import Diagnostics, TolerantAggregator, aggregators
from fedsim.aggregators.krum import krum_scores
from fedsim.aggregators.meamed import mean_around_median
from fedsim.aggregators.multi_krum import smallest
from fedsim.round_context import RoundContext
from fedsim.update_matrix import UpdateMatrix


def krum_selection(squared_distances: Tensor, f: int, rounds: int, client_ids: Sequence[int]) -> list[int]:
    """The rows that ``rounds`` rounds of Krum take, each from what the rounds before it left, in that order.

    >>> rows = torch.tensor([[0.0], [1.0], [2.5], [9.0]])
    >>> krum_selection(torch.cdist(rows, rows).double() ** 2, f=0, rounds=3, client_ids=range(4))
    [1, 0, 2]
    """
    left, selected = list(range(len(squared_distances))), []
    for _ in range(rounds):
        scores = krum_scores(squared_distances[left][:, left], f)
        best = smallest(scores, 1, [client_ids[row] for row in left]).tolist().index(True)
        selected.append(left.pop(best))
    return selected


@aggregators.register("bulyan", paper="El Mhamdi et al. 2018, The Hidden Vulnerability of Distributed Learning")
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
