"""Adaptive robust clipping."""

from fedsim.aggregators.clipping import clip_rows
from fedsim.aggregators.pre import TolerantPreAggregator, pre_aggregators
from fedsim.registry import Reference
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix


@pre_aggregators.register(
    "arc",
    Reference(
        authors="Allouah et al.",
        title="Adaptive Gradient Clipping for Robust Federated Learning",
        year=2025,
        venue="ICLR",
        url="https://arxiv.org/abs/2405.14432",
    ),
)
class AdaptiveRobustClipping(TolerantPreAggregator):
    """The longest updates are clipped to the next largest norm.

        y_k = g_k min(1, C / ||g_k||),    C = the (q+1)-th largest of ||g_1||, ..., ||g_K||,
        q   = floor(2f(K-f)/K)

    K is the number of clients, g_k in R^D the update of client k, f (``num_byzantine``) <= (K-1)/2 the number of
    Byzantine clients to defend against; rows of the same shape [K, D] come out.

    It fails against attacks of ordinary length, as only norms are looked at: it is meant to stand in front of a
    robust rule. More than q Byzantine clients set C themselves.

    Nothing departs from the original.

    >>> import torch
    >>> rows = UpdateMatrix(torch.tensor([[1.0], [-2.0], [3.0], [100.0]]))
    >>> AdaptiveRobustClipping(num_byzantine=1)(rows, RoundContext.of(4))[0].tensor().flatten()
    tensor([ 1., -2.,  3.,  3.])
    """

    commutes_with_rotations = True

    largest_f = staticmethod(lambda num_rows: (num_rows - 1) // 2)
    shardable = True

    def __call__(self, updates: UpdateMatrix, context: RoundContext) -> tuple[UpdateMatrix, RoundContext]:
        count = updates.num_rows
        f = self.tolerated(count, context)
        clipped = 2 * f * (count - f) // count
        radius = float(updates.row_norms().sort().values[count - clipped - 1])
        return clip_rows(updates, radius), context
