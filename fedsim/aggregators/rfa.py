"""RFA: an approximate geometric median."""

from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import Aggregator, Diagnostics, aggregators
from fedsim.settings import Schema
from fedsim.updates.affine_iteration import AffineIterate
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix


@aggregators.register("rfa")
class RFA(Aggregator):
    """Geometric median by a few steps of the smoothed Weiszfeld algorithm, from the zero update.

    Every step goes to the mean of the rows weighted by 1 / max(distance, smoothing); clients count equally.

    >>> import torch
    >>> RFA(iterations=1)(torch.tensor([[1.0], [2.0], [-50.0]]))    # 1 + 1 - 1 by 1 + 1/2 + 1/50
    tensor([0.6579])
    """

    commutes_with_rotations = True

    class Settings(Schema):
        iterations: int = Field(3, ge=1, description="steps of the Weiszfeld algorithm")
        smoothing: float = Field(1e-6, gt=0, description="nu, no distance counts as shorter than this")

    settings: Settings

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        median = AffineIterate(updates)
        for _ in range(self.settings.iterations):
            weights = 1 / median.distances().clamp(min=self.settings.smoothing)
            median.move_to_mean(weights)
        share = weights / weights.sum()
        self.diagnostics = Diagnostics(per_client={"weight": share}, trust=share / share.max())
        return median.point()
