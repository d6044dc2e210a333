"""Centered clipping bucket after bucket, each with clients from near and far."""

import torch
from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import aggregators
from fedsim.aggregators.centered_clipping import CenteredClipping
from fedsim.updates.affine_iteration import AffineIterate
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.rounding import TIE


@aggregators.register("cc_sequential_bucketing")
class SequentialBucketingClipping(CenteredClipping):
    """Centered clipping by one bucket after the other, each with one update of every stratum of cosines to v.

    The updates, sorted by their cosine to v (in random order while v is zero), are cut into strata of
    L = ceil(K / bucket_size); each stratum is shuffled, and bucket i takes the i-th of each. ``iterations``
    counts the clipping steps within a bucket.

    >>> clipping = SequentialBucketingClipping(bucket_size=3, radius=2.0)
    >>> clipping(torch.tensor([[1.0], [3.0], [-90.0]]))    # one bucket: (1 + 2 - 2) / 3
    tensor([0.3333])
    """

    commutes_with_rotations = True

    class Settings(CenteredClipping.Settings):
        bucket_size: int = Field(2, ge=1, description="s, strata, and so updates in a full bucket")
        iterations: int = Field(1, ge=1, description="times that v moves for each bucket")

    settings: Settings

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        v = AffineIterate(updates, self._reference)
        factors = torch.empty(self.settings.iterations, updates.num_rows, dtype=torch.float64)
        for bucket in self._draw_buckets(updates, context):
            for step in factors:
                step[bucket] = self.clip(v, bucket)
        return self.finish(v, factors)

    def _draw_buckets(self, updates: UpdateMatrix, context: RoundContext) -> list[list[int]]:
        generator = context.randomness()
        order = self._in_order_of_cosine(updates, context, generator)
        length = -(-len(order) // self.settings.bucket_size)
        strata = [order[first : first + length] for first in range(0, len(order), length)]
        shuffled = [_shuffle(stratum, generator) for stratum in strata]
        return [[stratum[i] for stratum in shuffled if i < len(stratum)] for i in range(length)]

    def _in_order_of_cosine(
        self, updates: UpdateMatrix, context: RoundContext, generator: torch.Generator
    ) -> list[int]:
        if self._reference is None or not bool(self._reference.any()):
            return _shuffle(context.in_id_order(), generator)
        cosines = cosines_to(updates, self._reference)
        rising = cosines.argsort()
        rank = torch.empty_like(rising)  # equal for rows that only rounding tells apart
        rank[rising] = (cosines[rising].diff(prepend=cosines[rising[:1]]) > TIE).cumsum(0)
        return sorted(context.in_id_order(), key=rank.tolist().__getitem__)


def cosines_to(updates: UpdateMatrix, direction: Tensor) -> Tensor:
    """Cosine [K] of each row to ``direction`` [D], not zero; 0 for a zero row.

    >>> cosines_to(UpdateMatrix(torch.tensor([[3.0, 4.0], [0.0, 0.0]])), torch.tensor([0.0, 2.0]))
    tensor([0.8000, 0.0000], dtype=torch.float64)
    """
    both = updates.extend(direction.to(updates.device)[None])
    products = both.sum_over_blocks(lambda block: block.double() @ block[-1].double()).cpu()
    norms = updates.row_norms().cpu()
    return torch.where(norms > 0, products[:-1] / (norms * products[-1].sqrt()), 0.0)


def _shuffle(rows: list[int], generator: torch.Generator) -> list[int]:
    return [rows[i] for i in torch.randperm(len(rows), generator=generator).tolist()]
