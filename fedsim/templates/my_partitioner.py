"""A partitioner: which client has which training sample.

`fedsim --plugin my_partitioner.py data.partition.name=my_partitioner data.partition.own=0.7`
"""

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data import Columns
from fedsim.data.partitioners import Partitioner, partitioners


@partitioners.register("my_partitioner")
class MyPartitioner(Partitioner):
    """Every class has a client of its own, which gets a share of its samples; the rest go to clients at random."""

    class Settings(Partitioner.Settings):  # which has min_samples
        own: float = Field(0.5, ge=0, le=1, description="share of a class that its own client gets")

    settings: Settings

    def assign(self, labels: Tensor, num_clients: int, generator: torch.Generator, columns: Columns) -> Tensor:
        anybody = torch.randint(num_clients, labels.shape, generator=generator)
        mine = torch.rand(labels.shape, generator=generator) < self.settings.own
        return torch.where(mine, labels % num_clients, anybody)  # the client of each sample [N]
