"""Bucketing: the rule behind it sees means of randomly chosen updates."""

from dataclasses import replace

import torch
from pydantic import Field

from fedsim.aggregators.pre import PreAggregator, pre_aggregators
from fedsim.settings import Schema
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix


@pre_aggregators.register("bucketing")
class Bucketing(PreAggregator):
    """Updates are shuffled each round and averaged in buckets; the last bucket may hold fewer.

    What comes out are rows of buckets, numbered from 0, not of clients.

    >>> rows, context = Bucketing(bucket_size=3)(UpdateMatrix(torch.ones(7, 2)), RoundContext.of(7))
    >>> rows.tensor().tolist(), context.client_ids
    ([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]], (0, 1, 2))
    """

    commutes_with_rotations = True

    class Settings(Schema):
        bucket_size: int = Field(2, ge=1, description="how many updates are averaged into one")

    settings: Settings
    keeps_clients = False

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
        return updates.mix(weights), replace(context, client_ids=tuple(range(len(buckets))), sample_counts=None)
