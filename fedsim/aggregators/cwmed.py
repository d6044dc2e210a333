"""Coordinate-wise median."""

from torch import Tensor

from fedsim.aggregators.base import Aggregator, aggregators
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix


@aggregators.register("cwmed")
class CoordinateWiseMedian(Aggregator):
    """Median of every coordinate; the lower middle value for an even number of clients.

    >>> import torch
    >>> CoordinateWiseMedian()(torch.tensor([[1.0, 5.0], [2.0, 4.0], [99.0, -99.0]]))
    tensor([2., 4.])
    """

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        middle = (updates.num_rows - 1) // 2
        return updates.map_order_statistics(range(middle, middle + 1), lambda ordered: ordered[0])
