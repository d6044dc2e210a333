"""Coordinate-wise median."""

from torch import Tensor

from fedsim.aggregators.base import Aggregator, aggregators
from fedsim.registry import Reference
from fedsim.updates.column_maps import column_map
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix

OPTIMAL_RATES = Reference(
    authors="Yin, Chen, Ramchandran and Bartlett",
    title="Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates",
    year=2018,
    venue="ICML",
    url="https://arxiv.org/abs/1803.01498",
)


@aggregators.register("cwmed", OPTIMAL_RATES)
class CoordinateWiseMedian(Aggregator):
    """Coordinate-wise median.

        step^j = median of g_1^j, ..., g_K^j

    K is the number of clients, g_k in R^D the update of client k, g_k^j its coordinate j; the step has the shape
    [D]. It knows no f: any minority is tolerated.

    It fails against shifts of every coordinate that stay inside the spread of the honest values (ALIE), and where
    data are heterogeneous: values that a minority of the clients alone holds never become the median, honest or
    not.

    For an even number of clients it is the lower middle value, where the original takes the mean of the two: so
    the step is always made of values that clients sent, as with ``torch.median``.

    >>> import torch
    >>> CoordinateWiseMedian()(torch.tensor([[1.0, 5.0], [2.0, 4.0], [99.0, -99.0]]))
    tensor([2., 4.])
    """

    shardable = True

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        middle = (updates.num_rows - 1) // 2
        return updates.map_order_statistics(range(middle, middle + 1), only)


@column_map
def only(ordered: Tensor) -> Tensor:
    """The one order statistic [b] of [1, b]."""
    return ordered[0]
