"""Sizes that follow from the clients' ids, for the partitioners that differ in nothing else."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from fedsim.data.partitioners.base import Partitioner
from fedsim.data.samples import Columns


class BySize(Partitioner):
    """Samples are shuffled and dealt out, to each client as many as :meth:`weights` says."""

    by_class = False

    @abstractmethod
    def weights(self, num_clients: int) -> Sequence[int]:
        """The relative size of each client [K]."""
        raise NotImplementedError

    def assign(self, labels: Tensor, num_clients: int, generator: torch.Generator, columns: Columns) -> Tensor:
        sizes = torch.tensor(apportion(len(labels), self.weights(num_clients)))
        owners = torch.empty(len(labels), dtype=torch.int64)
        owners[torch.randperm(len(labels), generator=generator)] = torch.arange(num_clients).repeat_interleave(sizes)
        return owners


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to the weights, which sum to ``total``; each is less than one off.

    They are rounded down, and what is left goes, one each, to those that lost most; of equals, to the first. So a
    larger weight never gets less.

    >>> apportion(10, [1, 2, 3, 4]), apportion(10, [1, 1, 1, 1])
    ([1, 2, 3, 4], [3, 3, 2, 2])
    """
    whole = sum(weights)
    counts = [total * weight // whole for weight in weights]
    by_loss = sorted(range(len(weights)), key=lambda index: -(total * weights[index] % whole))
    for index in by_loss[: total - sum(counts)]:
        counts[index] += 1
    return counts
