"""Pathological label skew: each client holds a few pieces of the samples sorted by class."""

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.partitioners.base import Partitioner, PartitionSettings, partitioners
from fedsim.data.samples import Columns
from fedsim.errors import ConfigError
from fedsim.registry import Reference


@partitioners.register(
    "shards",
    Reference(
        authors="McMahan et al.",
        title="Communication-Efficient Learning of Deep Networks from Decentralized Data",
        year=2017,
        venue="AISTATS",
        url="https://arxiv.org/abs/1602.05629",
    ),
)
class Shards(Partitioner):
    """Samples sorted by class are cut into equal shards; each client gets a few of them at random.

    McMahan et al. give each of 100 clients two shards of MNIST, so that most have samples of two classes only.
    """

    class Settings(PartitionSettings):
        shards_per_client: int = Field(2, ge=1, description="shards of each client, so about as many classes")

    settings: Settings

    def assign(self, labels: Tensor, num_clients: int, generator: torch.Generator, columns: Columns) -> Tensor:
        shards = num_clients * self.settings.shards_per_client
        if shards > len(labels):
            raise ConfigError(
                "data.partition.shards_per_client",
                f"{len(labels)} samples cannot be cut into {shards} shards",
                "take fewer shards or fewer clients",
            )
        order = torch.randperm(len(labels), generator=generator)  # within a class, which sample comes first
        order = order[labels[order].argsort(stable=True)]
        shard_of = torch.arange(len(labels)) * shards // len(labels)
        owner_of = torch.randperm(shards, generator=generator) % num_clients
        owners = torch.empty_like(labels)
        owners[order] = owner_of[shard_of]
        return owners
