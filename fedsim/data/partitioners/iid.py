"""Independent and identically distributed clients."""

import torch
from torch import Tensor

from fedsim.data.partitioners.base import Partitioner, partitioners
from fedsim.data.samples import Columns


@partitioners.register("iid")
class Iid(Partitioner):
    """Samples shuffled and dealt out: sizes differ by one at most."""

    by_class = False

    def assign(self, labels: Tensor, num_clients: int, generator: torch.Generator, columns: Columns) -> Tensor:
        owners = torch.empty(len(labels), dtype=torch.int64)
        owners[torch.randperm(len(labels), generator=generator)] = torch.arange(len(labels)) % num_clients
        return owners
