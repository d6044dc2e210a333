"""Bucketing: the rule behind it sees means of randomly chosen updates."""

import torch
from pydantic import Field

from fedsim.aggregators.pre import PreAggregator, pre_aggregators
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix

BUCKETING = Reference(
    authors="Karimireddy, He and Jaggi",
    title="Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing",
    year=2022,
    venue="ICLR",
    url="https://arxiv.org/abs/2006.09365",
)


@pre_aggregators.register("bucketing", BUCKETING)
class Bucketing(PreAggregator):
    """Means of randomly chosen updates, for the rule behind it.

        y_b = mean of the g_k in bucket b,    b = 1, ..., B

    The updates g_1, ..., g_K in R^D of K clients are shuffled each round and cut into B = ceil(K/s) buckets, s the
    ``bucket_size``; [B, D] comes out. Honest means vary less than honest updates, which helps rules that
    heterogeneous data mislead.

    It fails with few clients: one Byzantine update taints the whole mean of its bucket, so the rule behind it meets
    f tainted rows out of B instead of out of K.

    What comes out are rows of buckets, numbered from 0, not of clients. The last bucket may hold fewer updates; its
    row is their mean and weighs as much as the others.

    >>> rows, context = Bucketing(bucket_size=3)(UpdateMatrix(torch.ones(7, 2)), RoundContext.of(7))
    >>> rows.tensor().tolist(), context.client_ids
    ([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]], (0, 1, 2))
    """

    commutes_with_rotations = True

    class Settings(Schema):
        bucket_size: int = Field(2, ge=1, description="how many updates are averaged into one")

    settings: Settings
    keeps_clients = False
    shardable = True

    def rows_after(self, num_rows: int) -> int:
        return -(-num_rows // self.settings.bucket_size)

    def __call__(self, updates: UpdateMatrix, context: RoundContext) -> tuple[UpdateMatrix, RoundContext]:
        shuffled = torch.tensor(context.in_id_order())[
            torch.randperm(updates.num_rows, generator=context.randomness())
        ]
        buckets = shuffled.split(self.settings.bucket_size)
        weights = torch.zeros(len(buckets), updates.num_rows, dtype=torch.float64)
        for bucket, members in enumerate(buckets):
            weights[bucket, members] = 1 / len(members)
        return updates.mix(weights), context.of_groups(len(buckets))
