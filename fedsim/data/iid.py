"""Independent and identically distributed clients."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fedsim.data.base import Partitioner, partitioners
from fedsim.data.shares import require_enough


@partitioners.register("iid")
class Iid(Partitioner):
    """Samples shuffled and dealt out: sizes differ by one at most."""

    def partition(self, labels: Tensor, num_clients: int, generator: torch.Generator) -> Sequence[Tensor]:
        require_enough(labels, num_clients)
        shuffled = torch.randperm(len(labels), generator=generator)
        return [shuffled[client::num_clients].sort().values for client in range(num_clients)]
