"""Mean around the median, coordinate by coordinate."""

import torch
from torch import Tensor

from fedsim.aggregators.base import Diagnostics, TolerantAggregator, aggregators
from fedsim.registry import Reference
from fedsim.updates.column_maps import column_map
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.order_statistics import sum_rows


def mean_around_median(updates: UpdateMatrix, count: int) -> Tensor:
    """Mean of the ``count`` values of each coordinate that lie nearest to its lower median, as [D].

    Of two values equally far from the median the smaller is nearer, so the order of the rows does not matter.

    >>> rows = UpdateMatrix(torch.tensor([[4.0, 4.0], [0.0, 0.0], [9.0, 9.0], [2.0, 1.0]]))
    >>> mean_around_median(rows, count=2)
    tensor([1.0000, 0.5000])
    """
    middle = (updates.num_rows - 1) // 2
    # The nearest values are a window of the sorted column that contains the median. It starts at the lowest
    # possible place and moves up while the next value above it is nearer than the last one inside it.
    first, last = max(0, middle - count + 1), min(middle, updates.num_rows - count)
    return updates.map_order_statistics(
        range(first, last + count), mean_of_nearest, count, last - first, middle - first
    )


@column_map
def mean_of_nearest(ordered: Tensor, count: int, moves: int, median_position: int) -> Tensor:
    """The mean [b] of the ``count`` order statistics that are nearest to one of them.

    Args:
        ordered: [count + moves, b], of which the nearest are ``count`` adjacent ones.
        moves: how often their window can move up.
        median_position: which row the others are near to.
    """
    ordered = ordered.double()
    median = ordered[median_position]
    below, inside, above = ordered[:moves], ordered[moves:count], ordered[count:]
    # Value r leaves exactly when value r + count enters; both rules are monotone in r: each pair decides alone.
    decided = torch.where(above - median < median - below, above, below)
    return sum_rows(torch.cat([decided, inside])).div_(count)


@aggregators.register(
    "meamed",
    Reference(
        authors="Xie, Koyejo and Gupta",
        title="Generalized Byzantine-tolerant SGD",
        year=2018,
        venue="arXiv",
        url="https://arxiv.org/abs/1802.10116",
    ),
)
class MeanAroundMedian(TolerantAggregator):
    """Mean of the values of every coordinate that lie nearest to its median.

        step^j = mean of the K-f values among g_1^j, ..., g_K^j with the smallest |g_k^j - m^j|,
        m^j    = median of g_1^j, ..., g_K^j

    K is the number of clients, g_k in R^D the update of client k, g_k^j its coordinate j, f (``num_byzantine``)
    <= (K-1)/2 the number of Byzantine clients to defend against; the step has the shape [D].

    It fails against shifts of every coordinate that stay inside the spread of the honest values (ALIE): near the
    median they are kept, while honest values on the other side are left out.

    The original's median of an even number of values is the mean of the two middle ones; here it is the lower of
    them, as for ``cwmed``. Of two values equally far from it the smaller is nearer [ours], so the order of
    the clients does not matter.

    >>> MeanAroundMedian(num_byzantine=1)(torch.tensor([[1.0], [2.0], [6.0], [99.0]]))
    tensor([3.])
    """

    largest_f = staticmethod(lambda num_rows: (num_rows - 1) // 2)
    shardable = True

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        f = self.tolerated(updates.num_rows, context)
        self.diagnostics = Diagnostics(scalars={"num_byzantine": f})
        return mean_around_median(updates, updates.num_rows - f)
