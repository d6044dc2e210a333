"""What a partitioner is: it distributes the training samples over the clients."""

from abc import abstractmethod
from collections.abc import Sequence
from heapq import heapify, heapreplace
from itertools import accumulate
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.samples import NO_COLUMNS, Columns
from fedsim.errors import ComponentError, ConfigError
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

    by_class: ClassVar[bool] = True
    """Whether it looks at the class of a sample, and so cannot distribute sequences with one for each position."""

    follows_owners: ClassVar[bool] = False
    """Whether the data or a file say whose a sample is: then validation samples are taken from the clients. Else they
    are set aside first, and the others are distributed."""

    def validation_samples(self) -> Tensor | None:
        """Sorted indices of the samples that a saved split keeps for validation; None if there is no such split."""
        return None

    def check(self) -> None:
        """Raise ConfigError for what is wrong whatever the data are; called before any rank starts work."""

    def partition(
        self, labels: Tensor, num_clients: int, generator: torch.Generator, columns: Columns = NO_COLUMNS
    ) -> Sequence[Tensor]:
        """Sorted sample indices of each client: every sample once, no client without any unless asked.

        Args:
            labels: classes of the training samples [N], or of their positions [N, T].
            generator: of whatever is random about it.
            columns: further facts about the samples.

        Raises:
            ConfigError: fewer samples than clients, a column or file that does not fit, or labels of positions where
                samples are distributed by class.
        """
        if self.by_class and labels.ndim > 1:
            others = ", ".join(name for name in partitioners.describe() if not partitioners.get(name).by_class)
            problem = f"{self.name} distributes samples by class, and here each position of a sample has its own"
            raise ConfigError("data.partition.name", problem, f"take one of {others}")
        self.require_enough(len(labels), num_clients)
        with self.own_draws(generator.initial_seed):
            assigned = self.assign(labels, num_clients, generator, columns)
        owners = self._checked(assigned, len(labels), num_clients)
        owners = fill_up(owners, num_clients, self.settings.min_samples)
        return samples_of(owners, num_clients)

    def _checked(self, assigned: object, samples: int, num_clients: int) -> Tensor:
        """The owners that :meth:`assign` has returned; ComponentError if they cannot be."""
        owners = self.returned(assigned, "assign", torch.device("cpu"))
        if owners.shape != (samples,) or owners.is_floating_point():
            found, wanted = f"{owners.dtype} of shape {list(owners.shape)}", f"a whole number for each of {samples}"
            raise ComponentError(f"{self.who}: assign returned {found}, not {wanted} samples")
        if not 0 <= int(owners.min()) <= int(owners.max()) < num_clients:
            what = f"clients {int(owners.min())} to {int(owners.max())}"
            raise ComponentError(f"{self.who}: assign named {what}, not 0 to {num_clients - 1}")
        return owners.long()

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


partitioners = Registry("partitioner", Partitioner)
