"""FedNGA: the mean of the updates' directions."""

import torch
from torch import Tensor

from fedsim.aggregators.base import Aggregator, Diagnostics, aggregators
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix


@aggregators.register("fednga")
class FedNGA(Aggregator):
    """Mean of the updates scaled to length one; a zero update adds nothing but counts.

    >>> FedNGA()(torch.tensor([[3.0, 4.0], [0.0, -500.0]]))
    tensor([ 0.3000, -0.1000])
    """

    commutes_with_rotations = True

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        norms = updates.row_norms()
        self.diagnostics = Diagnostics(per_client={"norm": norms})
        return updates.weighted_sum(torch.where(norms > 0, 1 / norms, 0.0) / updates.num_rows)
