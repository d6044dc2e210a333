"""Centered clipping of the means of random buckets."""

import torch
from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import aggregators
from fedsim.aggregators.bucketing import BUCKETING
from fedsim.aggregators.centered_clipping import LEARNING_FROM_HISTORY, CenteredClipping
from fedsim.updates.affine_iteration import AffineIterate
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix


@aggregators.register("cc_random_bucketing", BUCKETING, LEARNING_FROM_HISTORY)
class RandomBucketingClipping(CenteredClipping):
    """Centered clipping of the means of random buckets.

        y_b = mean of the updates in bucket b,    b = 1, ..., B
        v <- v + (1/B) sum_b (y_b - v) min(1, tau / ||y_b - v||),    ``iterations`` times in a round

    The updates g_1, ..., g_K in R^D of K clients are shuffled each round and cut into B = ceil(K/s) buckets, s the
    ``bucket_size``; tau is the ``radius``. v, of shape [D], is the step and carries over from round to round.

    It fails with few clients: one Byzantine update taints the whole mean of its bucket, so f of them reach up to f
    of the B buckets, easily a majority. A radius that is too large clips nothing, as in centered clipping.

    The last bucket may be smaller; buckets weigh equally all the same. The default radius is the released
    setting of FedSECA. A client's clip factor among the diagnostics is that of its bucket.

    >>> clipping = RandomBucketingClipping(bucket_size=3, radius=2.0, iterations=1)
    >>> clipping(torch.tensor([[1.0], [3.0], [-90.0]]))    # one bucket, mean -86/3, clipped to 2
    tensor([-2.])
    """

    commutes_with_rotations = True

    class Settings(CenteredClipping.Settings):
        bucket_size: int = Field(2, ge=1, description="s, updates in a bucket")

    settings: Settings
    shardable = True

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        bucket_of = self._draw_buckets(context)
        members = torch.nn.functional.one_hot(bucket_of).double().T  # [buckets, K]
        v = AffineIterate(updates.mix(members / members.sum(1, keepdim=True)), self._reference)
        every_bucket = range(len(members))
        factors = torch.stack([self.clip(v, every_bucket) for _ in range(self.settings.iterations)])
        return self.finish(v, factors[:, bucket_of])

    def _draw_buckets(self, context: RoundContext) -> Tensor:
        """The bucket [K] of each row."""
        rows = torch.tensor(context.in_id_order())
        shuffled = rows[torch.randperm(len(rows), generator=context.randomness())]
        bucket_of = torch.empty_like(rows)
        bucket_of[shuffled] = torch.arange(len(rows)) // self.settings.bucket_size
        return bucket_of
