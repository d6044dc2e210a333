"""Coordinate-wise trimmed mean."""

from torch import Tensor

from fedsim.aggregators.base import TolerantAggregator, aggregators
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.order_statistics import sum_rows


@aggregators.register("cwtm")
class CoordinateWiseTrimmedMean(TolerantAggregator):
    """Mean of every coordinate without its f smallest and f largest values; f <= (K-1)/2.

    >>> import torch
    >>> import torch
    >>> CoordinateWiseTrimmedMean(num_byzantine=1)(torch.tensor([[1.0], [2.0], [4.0], [99.0]]))
    tensor([3.])
    """

    largest_f = staticmethod(lambda num_rows: (num_rows - 1) // 2)

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        f = self.tolerated(updates.num_rows, context.dropped)
        middle = range(f, updates.num_rows - f)
        return updates.map_order_statistics(middle, lambda ordered: sum_rows(ordered).div_(len(ordered)))
