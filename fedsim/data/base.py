"""What data are: labelled samples that can be read by index, a source of them, a way to share them out."""

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from fedsim.errors import ConfigError, FedsimWarning
from fedsim.registry import Component, Registry


class Samples(Protocol):
    """Labelled samples, read in batches by index."""

    @property
    def labels(self) -> Tensor:
        """Classes [N], int64."""
        ...

    def __len__(self) -> int: ...

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Inputs [n, ...] of the samples ``indices`` [n]; with a generator, augmented by its draws."""
        ...


@dataclass(frozen=True)
class TensorSamples:
    """Samples that lie in memory (or in a memory-mapped file).

    Attributes:
        inputs: uint8 images [N, C, H, W], which become floats in [0, 1], or floats as they are.
        labels: classes [N], int64.
    """

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> Tensor:
        picked = self.inputs[indices]
        return picked.float().div_(255) if picked.dtype == torch.uint8 else picked.float()


@dataclass(frozen=True)
class Splits:
    """A data set: training and test samples, number of classes, shape of one input (C, H, W)."""

    train: Samples
    test: Samples
    num_classes: int
    input_shape: tuple[int, ...]


class DataSource(Component):
    """Where samples come from; a subclass implements :meth:`load`."""

    reads_root: ClassVar[bool] = False
    """Whether the data lie in a folder that the user names by ``data.root``."""

    def check(self, root: Path | None) -> None:
        """Raise ConfigError if the data are not where they should be; called before any rank starts work."""
        if self.reads_root and root is None:
            raise ConfigError("root", "missing", f"name the folder that holds {self.name}")
        if self.reads_root and root is not None and not root.is_dir():
            raise ConfigError("root", f"there is no folder {root}", f"name the folder that holds {self.name}")
        if root is not None and not self.reads_root:
            warnings.warn(f"data.root has no effect: {self.name} needs no folder", FedsimWarning, stacklevel=2)

    @abstractmethod
    def load(self, root: Path | None) -> Splits:
        """The data set; ``root`` is the folder named by ``data.root``."""
        raise NotImplementedError


class Partitioner(Component):
    """How training samples are shared out; a subclass implements :meth:`partition`."""

    @abstractmethod
    def partition(self, labels: Tensor, num_clients: int, generator: torch.Generator) -> Sequence[Tensor]:
        """Sorted sample indices of each client: every sample once, no client without any.

        Raises:
            ConfigError: fewer samples than clients.
        """
        raise NotImplementedError


sources = Registry[DataSource]("data set")
partitioners = Registry[Partitioner]("partitioner")
