"""Mean around the median, coordinate by coordinate."""

import torch
from torch import Tensor

from fedsim.aggregators.base import TolerantAggregator, aggregators
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
    # possible rank and moves up while the next value above it is nearer than the last one inside it.
    first, last = max(0, middle - count + 1), min(middle, updates.num_rows - count)
    moves = last - first

    def mean(ordered: Tensor) -> Tensor:
        ordered = ordered.double()
        median = ordered[middle - first]
        below, inside, above = ordered[:moves], ordered[moves:count], ordered[count:]
        # Rank r leaves exactly when rank r + count enters; both rules are monotone in r, so each pair decides alone.
        decided = torch.where(above - median < median - below, above, below)
        return sum_rows(torch.cat([decided, inside])).div_(count)

    return updates.map_order_statistics(range(first, last + count), mean)


@aggregators.register("meamed")
class MeanAroundMedian(TolerantAggregator):
    """Mean of the K-f values of every coordinate that lie nearest to its median; f <= (K-1)/2.

    Of two values equally far from the (lower) median the smaller is nearer.

    >>> MeanAroundMedian(num_byzantine=1)(torch.tensor([[1.0], [2.0], [6.0], [99.0]]))
    tensor([3.])
    """

    largest_f = staticmethod(lambda num_rows: (num_rows - 1) // 2)

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        count = updates.num_rows - self.tolerated(updates.num_rows, context.dropped)
        return mean_around_median(updates, count)
