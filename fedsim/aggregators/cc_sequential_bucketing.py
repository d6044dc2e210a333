"""Centered clipping bucket after bucket, each with clients from near and far."""

import torch
from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import aggregators
from fedsim.aggregators.centered_clipping import LEARNING_FROM_HISTORY, CenteredClipping
from fedsim.registry import Reference
from fedsim.updates.affine_iteration import AffineIterate
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.rounding import TIE


@aggregators.register(
    "cc_sequential_bucketing",
    Reference(
        authors="Özfatura, Özfatura, Küpçü and Gündüz",
        title="Byzantines Can Also Learn From History: Fall of Centered Clipping in Federated Learning",
        year=2024,
        venue="IEEE Transactions on Information Forensics and Security",
        url="https://arxiv.org/abs/2208.09894",
    ),
    LEARNING_FROM_HISTORY,
)
class SequentialBucketingClipping(CenteredClipping):
    """Centered clipping by one bucket after the other, each with updates near v and far from it.

        v <- v + (1/|b|) sum over k in b of (g_k - v) min(1, tau / ||g_k - v||),    bucket b after bucket

    The updates g_1, ..., g_K in R^D of K clients are sorted by their cosine to v (in random order while v is 0) and
    cut into strata of at most L = ceil(K/s), s the ``bucket_size``; each stratum is shuffled, and bucket i of L
    takes the i-th of each. tau is the ``radius``. v, of shape [D], is the step and carries over from round to
    round; ``iterations`` counts the moves for each bucket.

    It fails with few clients: each bucket may hold a Byzantine update, which moves v by up to tau/|b|. A radius that
    is too large clips nothing, as in centered clipping.

    Where s does not divide K the last stratum is the smaller one, as in FedSECA's code; that of the authors makes the
    strata as equal as possible, and has buckets of about 3 in the first round. Cosines that differ by rounding only
    count as equal and keep the order of the client ids [ours]. The default radius is the released setting of FedSECA.

    >>> clipping = SequentialBucketingClipping(bucket_size=3, radius=2.0)
    >>> clipping(torch.tensor([[1.0], [3.0], [-90.0]]))    # one bucket: (1 + 2 - 2) / 3
    tensor([0.3333])
    """

    commutes_with_rotations = True

    class Settings(CenteredClipping.Settings):
        bucket_size: int = Field(2, ge=1, description="s, strata, and so updates in a full bucket")
        iterations: int = Field(1, ge=1, description="times that v moves for each bucket")

    settings: Settings
    shardable = True

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
        if self._reference is None or not bool(updates.beside(self._reference[None]).row_norms()):
            return _shuffle(context.in_id_order(), generator)
        cosines = cosines_to(updates, self._reference)
        rising = cosines.argsort()
        place = torch.empty_like(rising)  # equal for rows that differ by rounding only
        place[rising] = (cosines[rising].diff(prepend=cosines[rising[:1]]) > TIE).cumsum(0)
        return sorted(context.in_id_order(), key=place.tolist().__getitem__)


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
