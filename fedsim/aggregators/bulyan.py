"""Bulyan: Krum again and again, then the mean around the median of what it selected."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fedsim.aggregators.base import Diagnostics, TolerantAggregator, aggregators
from fedsim.aggregators.meamed import mean_around_median
from fedsim.registry import Reference
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.neighbours import krum_selection
from fedsim.updates.row_statistics import RowStatistic


@aggregators.register(
    "bulyan",
    Reference(
        authors="El Mhamdi, Guerraoui and Rouault",
        title="The Hidden Vulnerability of Distributed Learning in Byzantium",
        year=2018,
        venue="ICML",
        url="https://arxiv.org/abs/1802.07927",
    ),
)
class Bulyan(TolerantAggregator):
    """Coordinate-wise mean around the median of the updates that repeated Krum selects.

        S      = the K-2f updates that K-2f rounds of Krum select, each from what the rounds before it left
        step^j = mean of the K-4f values g_k^j, k in S, nearest to their median

    K is the number of clients, g_k in R^D the update of client k, g_k^j its coordinate j, f (``num_byzantine``)
    the number of Byzantine clients to defend against; the step has the shape [D]. It needs K >= 4f+3.

    It fails against shifts of every coordinate that stay inside the spread of the honest values (ALIE), and
    tolerates a quarter of the clients only, where other methods tolerate up to half.

    Scores are computed again on the n updates that are left, with max(1, n-f-2) neighbours: n falls to 2f+1, where
    n-f-2 is 0 for f = 1 [ours]. The code of one of the authors is another rule: it averages the best scores K-2f-2
    times without computing them again, and ends with K-4f-2 values. The median of an even number of values is the
    lower middle one, as for ``cwmed``.

    >>> Bulyan(num_byzantine=1)(torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [100.0]]))
    tensor([3.])
    """

    largest_f = staticmethod(lambda num_rows: (num_rows - 3) // 4)
    shardable = True

    def row_statistics(self) -> Sequence[RowStatistic]:
        return ("gram",)

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        f = self.tolerated(updates.num_rows, context)
        rounds = updates.num_rows - 2 * f
        selected = krum_selection(updates.squared_distances().cpu(), f, rounds, context.client_ids)
        weights = torch.zeros(updates.num_rows)
        weights[selected] = 1
        self.diagnostics = Diagnostics(per_client={"selected": weights}, scalars={"num_byzantine": f}, trust=weights)
        return mean_around_median(updates.select(selected), rounds - 2 * f)
