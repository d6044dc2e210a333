"""Nearest-neighbour mixing."""

from fedsim.aggregators.pre import TolerantPreAggregator, pre_aggregators
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.neighbours import smallest


@pre_aggregators.register("nnm")
class NearestNeighbourMixing(TolerantPreAggregator):
    """Each update becomes the mean of its K-f nearest, itself included; f <= (K-1)/2, ties to the lower id.

    >>> import torch
    >>> rows = UpdateMatrix(torch.tensor([[0.0], [1.0], [10.0]]))
    >>> NearestNeighbourMixing(num_byzantine=1)(rows, RoundContext.of(3))[0].tensor().flatten()
    tensor([0.5000, 0.5000, 5.5000])
    """

    commutes_with_rotations = True

    largest_f = staticmethod(lambda num_rows: (num_rows - 1) // 2)

    def __call__(self, updates: UpdateMatrix, context: RoundContext) -> tuple[UpdateMatrix, RoundContext]:
        count = updates.num_rows - self.tolerated(updates.num_rows, context.dropped)
        # At distance 0 an update is its own nearest neighbour; a copy of it in its place gives the same mean.
        nearest = smallest(updates.squared_distances(), count, context.client_ids)
        return updates.mix(nearest.double() / count), context
