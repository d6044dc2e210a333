"""Adaptive robust clipping."""

from fedsim.aggregators.clipping import clip_rows
from fedsim.aggregators.pre import TolerantPreAggregator, pre_aggregators
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix


@pre_aggregators.register("arc")
class AdaptiveRobustClipping(TolerantPreAggregator):
    """The 2f(K-f)/K largest updates, rounded down, are clipped to the next largest norm; f <= (K-1)/2.

    >>> import torch
    >>> rows = UpdateMatrix(torch.tensor([[1.0], [-2.0], [3.0], [100.0]]))
    >>> AdaptiveRobustClipping(num_byzantine=1)(rows, RoundContext.of(4))[0].tensor().flatten()
    tensor([ 1., -2.,  3.,  3.])
    """

    commutes_with_rotations = True

    largest_f = staticmethod(lambda num_rows: (num_rows - 1) // 2)

    def __call__(self, updates: UpdateMatrix, context: RoundContext) -> tuple[UpdateMatrix, RoundContext]:
        count = updates.num_rows
        f = self.tolerated(count, context.dropped)
        clipped = 2 * f * (count - f) // count
        radius = float(updates.row_norms().sort().values[count - clipped - 1])
        return clip_rows(updates, radius), context
