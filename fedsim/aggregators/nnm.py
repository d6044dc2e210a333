"""Nearest-neighbour mixing."""

from fedsim.aggregators.pre import TolerantPreAggregator, pre_aggregators
from fedsim.registry import Reference
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.neighbours import smallest


@pre_aggregators.register(
    "nnm",
    Reference(
        authors="Allouah et al.",
        title="Fixing by Mixing: A Recipe for Optimal Byzantine ML under Heterogeneity",
        year=2023,
        venue="AISTATS",
        url="https://arxiv.org/abs/2302.01772",
    ),
)
class NearestNeighbourMixing(TolerantPreAggregator):
    """Each update becomes the mean of its nearest neighbours.

        y_k = mean of the K-f updates g_l with the smallest ||g_k - g_l||, g_k itself included

    K is the number of clients, g_k in R^D the update of client k, f (``num_byzantine``) <= (K-1)/2 the number of
    Byzantine clients to defend against; rows of the same shape [K, D] come out. Honest rows move closer together,
    which helps rules that heterogeneous data mislead.

    It fails on its own: the mean of the mixed rows may still be far off, so a robust rule must follow. An f that is
    too small mixes Byzantine updates into every row.

    Equal distances go to the lower client id [ours]; nothing else departs from the original.

    >>> import torch
    >>> rows = UpdateMatrix(torch.tensor([[0.0], [1.0], [10.0]]))
    >>> NearestNeighbourMixing(num_byzantine=1)(rows, RoundContext.of(3))[0].tensor().flatten()
    tensor([0.5000, 0.5000, 5.5000])
    """

    commutes_with_rotations = True

    largest_f = staticmethod(lambda num_rows: (num_rows - 1) // 2)
    shardable = True

    def __call__(self, updates: UpdateMatrix, context: RoundContext) -> tuple[UpdateMatrix, RoundContext]:
        count = updates.num_rows - self.tolerated(updates.num_rows, context)
        # At distance 0 an update is its own nearest neighbour; a copy of it in its place gives the same mean.
        nearest = smallest(updates.squared_distances(), count, context.client_ids)
        return updates.mix(nearest.double() / count), context
