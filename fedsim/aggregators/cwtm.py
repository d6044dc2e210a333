"""Coordinate-wise trimmed mean."""

from torch import Tensor

from fedsim.aggregators.base import Diagnostics, TolerantAggregator, aggregators
from fedsim.aggregators.cwmed import OPTIMAL_RATES
from fedsim.updates.column_maps import column_map
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.order_statistics import sum_rows


@aggregators.register("cwtm", OPTIMAL_RATES)
class CoordinateWiseTrimmedMean(TolerantAggregator):
    """Coordinate-wise trimmed mean: without the smallest and largest values of each coordinate.

        step^j = (x_(f+1) + ... + x_(K-f)) / (K-2f),    x_(1) <= ... <= x_(K) the sorted g_1^j, ..., g_K^j

    K is the number of clients, g_k in R^D the update of client k, g_k^j its coordinate j, f (``num_byzantine``)
    <= (K-1)/2 the number of Byzantine clients to defend against; the step has the shape [D].

    It fails against shifts of every coordinate that stay inside the spread of the honest values (ALIE): they are
    not trimmed. Where data are heterogeneous, it trims honest values instead.

    The original trims a share beta of the values at each end; here it is the number f, as other methods take it.

    >>> import torch
    >>> CoordinateWiseTrimmedMean(num_byzantine=1)(torch.tensor([[1.0], [2.0], [4.0], [99.0]]))
    tensor([3.])
    """

    largest_f = staticmethod(lambda num_rows: (num_rows - 1) // 2)
    shardable = True

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        f = self.tolerated(updates.num_rows, context)
        self.diagnostics = Diagnostics(scalars={"num_byzantine": f})
        middle = range(f, updates.num_rows - f)
        return updates.map_order_statistics(middle, mean)


@column_map
def mean(ordered: Tensor) -> Tensor:
    """The mean [b] of order statistics [n, b]."""
    return sum_rows(ordered).div_(len(ordered))
