"""What data are: labelled samples that can be picked by index, a source of them, a way to share them out."""

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from pydantic import Field
from torch import Tensor

from fedsim.errors import ConfigError, FedsimWarning
from fedsim.files import folder_exists
from fedsim.registry import Component, Registry
from fedsim.settings import Schema

Columns = Mapping[str, Sequence[str]]
"""What is known of samples beside their class, for example the hospital they come from: name -> value of each [N]."""

NO_COLUMNS: Columns = {}


class Samples(Protocol):
    """Labelled samples, as they are stored."""

    @property
    def labels(self) -> Tensor:
        """Classes [N], int64."""
        ...

    @property
    def columns(self) -> Columns:
        """Further facts about each sample, by name."""
        ...

    def __len__(self) -> int: ...

    def pick(self, indices: Tensor) -> Tensor | list[Tensor]:
        """The samples ``indices`` [n]: one tensor [n, ...], or a list where images differ in size.

        Images are uint8 [C, H, W]; anything else is float.
        """
        ...


@dataclass(frozen=True)
class TensorSamples:
    """Samples of one shape, in memory or in a memory-mapped file.

    Attributes:
        inputs: uint8 images [N, C, H, W], or floats of any shape [N, ...].
        labels: classes [N], int64.
    """

    inputs: Tensor
    labels: Tensor
    columns: Columns = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def pick(self, indices: Tensor) -> Tensor:
        return self.inputs[indices]


@dataclass(frozen=True)
class Subset:
    """Some of the samples of a larger store, without a copy."""

    samples: Samples
    indices: Tensor

    @property
    def labels(self) -> Tensor:
        return self.samples.labels[self.indices]

    @property
    def columns(self) -> Columns:
        chosen = self.indices.tolist()
        return {name: [values[index] for index in chosen] for name, values in self.samples.columns.items()}

    def __len__(self) -> int:
        return len(self.indices)

    def pick(self, indices: Tensor) -> Tensor | list[Tensor]:
        return self.samples.pick(self.indices[indices])


@dataclass(frozen=True, kw_only=True)
class Splits:
    """A data set: training and test samples.

    Attributes:
        class_names: of the classes 0, 1, ...
        input_shape: of one sample (C, H, W); of the smallest height and width where images differ in size.
        one_size: whether all samples have that shape.
    """

    train: Samples
    test: Samples
    class_names: tuple[str, ...]
    input_shape: tuple[int, ...]
    one_size: bool = True

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


class DataSource(Component):
    """Where samples come from; a subclass implements :meth:`load`."""

    reads_root: ClassVar[bool] = False
    """Whether the data lie in a folder that the user names by ``data.root``."""

    def check(self, root: Path | None) -> None:
        """Raise ConfigError if the data are not where they should be; called before any rank starts work."""
        if self.reads_root and (root is None or not folder_exists(root)):
            problem = "missing" if root is None else f"there is no folder {root}"
            raise ConfigError("root", problem, f"name the folder that holds {self.name}; {self.repair(root)}")
        if root is not None and not self.reads_root:
            warnings.warn(f"data.root has no effect: {self.name} needs no folder", FedsimWarning, stacklevel=2)

    def repair(self, root: Path | None) -> str:
        """What the user does about missing or damaged data, in words."""
        return f"`python -m fedsim.prepare {self.name} --root {root or 'FOLDER'}` fetches, checks and decodes it"

    def prepare(self, root: Path | None) -> None:
        """Fetch what can be fetched, and check and decode everything, so that no run has to.

        Raises:
            ConfigError: the data are missing and cannot be fetched, or damaged.
        """
        self.check(root)
        self.load(root)

    @abstractmethod
    def load(self, root: Path | None) -> Splits:
        """The data set; ``root`` is the folder named by ``data.root``.

        Raises:
            ConfigError: a file is missing or damaged; the message names it and what repairs it.
        """
        raise NotImplementedError


class PartitionSettings(Schema):
    """What every partitioner can be told."""

    min_samples: int = Field(
        1,
        ge=0,
        description="every client gets so many samples at least, if need be from the largest; 0: may be empty",
    )


class Partitioner(Component):
    """How training samples are shared out; a subclass implements :meth:`assign`."""

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
        least = self.settings.min_samples
        if len(labels) < num_clients * least:
            raise ConfigError(
                "clients.count",
                f"{num_clients} clients with {least} sample{'s' * (least > 1)} each cannot share {len(labels)}",
                "take fewer clients" + (" or a smaller data.partition.min_samples" if least > 1 else ""),
            )
        owners = self.assign(labels, num_clients, generator, columns)
        assert owners.shape == labels.shape, f"{self.name} must name an owner of each sample"
        owners = fill_up(owners, num_clients, least)
        return [(owners == client).nonzero().flatten() for client in range(num_clients)]

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
    owners = owners.clone()
    sizes = torch.bincount(owners, minlength=num_clients)
    for client in (sizes < least).nonzero().flatten().tolist():
        while sizes[client] < least:
            largest = int(sizes.argmax())
            owners[(owners == largest).nonzero()[0]] = client
            sizes[largest] -= 1
            sizes[client] += 1
    return owners


sources = Registry[DataSource]("data set")
partitioners = Registry[Partitioner]("partitioner")
