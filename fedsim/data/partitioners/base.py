"""What a partitioner is: it distributes the training samples over the clients."""

from abc import abstractmethod
from collections.abc import Sequence
from heapq import heapify, heapreplace
from itertools import accumulate

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.samples import NO_COLUMNS, Columns
from fedsim.errors import ConfigError
from fedsim.registry import Component, Registry
from fedsim.settings import Schema


class PartitionSettings(Schema):
    """Settings of every partitioner."""

    min_samples: int = Field(
        1,
        ge=0,
        description="every client gets so many samples at least, if need be from the largest; 0: may be empty",
    )


class Partitioner(Component):
    """How training samples are distributed over the clients; a subclass implements :meth:`assign`."""

    class Settings(PartitionSettings):
        pass

    def check(self) -> None:
        """Raise ConfigError for what is wrong whatever the data are; called before any rank starts work."""

    def partition(
        self, labels: Tensor, num_clients: int, generator: torch.Generator, columns: Columns = NO_COLUMNS
    ) -> Sequence[Tensor]:
        """Sorted sample indices of each client: every sample once, no client without any unless asked.

        Args:
            labels: classes of the training samples [N].
            generator: of whatever is random about it.
            columns: further facts about the samples.

        Raises:
            ConfigError: fewer samples than clients, or a column or file that does not fit.
        """
        self.require_enough(len(labels), num_clients)
        owners = self.assign(labels, num_clients, generator, columns)
        assert owners.shape == labels.shape, f"{self.name} must name an owner of each sample"
        owners = fill_up(owners, num_clients, self.settings.min_samples)
        return samples_of(owners, num_clients)

    def require_enough(self, samples: int, num_clients: int) -> None:
        """ConfigError if there are not enough training samples for the clients."""
        least = self.settings.min_samples
        if samples < num_clients * least:
            raise ConfigError(
                "clients.count",
                f"{num_clients} clients with {least} sample{'s' * (least > 1)} each cannot share {samples}",
                "take fewer clients" + (" or a smaller data.partition.min_samples" if least > 1 else ""),
            )

    @abstractmethod
    def assign(self, labels: Tensor, num_clients: int, generator: torch.Generator, columns: Columns) -> Tensor:
        """The client [N] that gets each sample, int64 in [0, num_clients)."""
        raise NotImplementedError

    def owners_of_tests(self, train: Columns, test: Columns) -> Tensor | None:
        """The client that each test sample belongs to by its columns [N], -1 for nobody's; None if nobody owns any.

        Args:
            train: columns of the training samples, which made the clients.
            test: columns of the test samples.
        """
        return None


def fill_up(owners: Tensor, num_clients: int, least: int) -> Tensor:
    """The owners [N] after clients with too few samples got some of the largest client's.

    >>> fill_up(torch.tensor([0, 0, 0, 2]), num_clients=3, least=1).tolist()
    [1, 0, 0, 2]
    """
    sizes = torch.bincount(owners, minlength=num_clients).tolist()
    first = [0, *accumulate(sizes)]  # where in the order a client's samples begin: the next that it gives
    owners, order = owners.clone(), owners.argsort(stable=True)
    largest = [(-size, client) for client, size in enumerate(sizes)]
    heapify(largest)  # those that get some are never among the largest
    for client in range(num_clients):
        for _ in range(least - sizes[client]):
            size, giver = largest[0]
            owners[order[first[giver]]] = client
            first[giver] += 1
            heapreplace(largest, (size + 1, giver))
    return owners


def samples_of(owners: Tensor, num_clients: int) -> list[Tensor]:
    """The indices of each client's samples, sorted.

    >>> [indices.tolist() for indices in samples_of(torch.tensor([1, 0, 1]), 3)]
    [[1], [0, 2], []]
    """
    sizes = torch.bincount(owners, minlength=num_clients)
    return list(owners.argsort(stable=True).split(sizes.tolist()))


partitioners = Registry[Partitioner]("partitioner")
