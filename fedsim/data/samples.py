"""What data are: labelled samples that can be picked by index, a source of them, a way to share them out."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

Columns = Mapping[str, Sequence[str]]
"""What is known of samples beside their class, for example the hospital they come from: name -> value of each [N]."""

NO_COLUMNS: Columns = {}


class Samples(Protocol):
    """Labelled samples, as they are stored."""

    @property
    def labels(self) -> Tensor:
        """Classes [N], int64; [N, T] where each position of a sequence has one."""
        ...

    @property
    def columns(self) -> Columns:
        """Further facts about each sample, by name."""
        ...

    def __len__(self) -> int: ...

    def pick(self, indices: Tensor) -> Tensor | list[Tensor]:
        """The samples ``indices`` [n]: one tensor [n, ...], or a list where images differ in size.

        Images are uint8 [C, H, W], token ids int64 [T]; anything else is float.
        """
        ...


@dataclass(frozen=True)
class TensorSamples:
    """Samples of one shape, in memory or in a memory-mapped file.

    Attributes:
        inputs: uint8 images [N, C, H, W], int64 token ids [N, T], or floats of any shape [N, ...].
        labels: classes [N], or [N, T] of the positions of sequences, int64.
        cached_as: a name that other samples in the cache do not have; empty for samples that are not there.
    """

    inputs: Tensor
    labels: Tensor
    columns: Columns = field(default_factory=dict)
    cached_as: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    def pick(self, indices: Tensor) -> Tensor:
        return self.inputs.index_select(0, indices)  # on a CPU many times as fast as by brackets


@dataclass(frozen=True)
class Subset:
    """Some of the samples of a larger store, without a copy."""

    samples: Samples
    indices: Tensor

    @property
    def cached_as(self) -> str:
        """As of the larger store; it tells subsets apart."""
        whole: str = getattr(self.samples, "cached_as", "")
        return whole and f"{whole}-{hashlib.blake2b(self.indices.numpy().tobytes(), digest_size=8).hexdigest()}"

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
        vocabulary: how many token ids there are, from 0 on, where inputs are such ids.
    """

    train: Samples
    test: Samples
    class_names: tuple[str, ...]
    input_shape: tuple[int, ...]
    one_size: bool = True
    vocabulary: int | None = None

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @classmethod
    def divided(
        cls,
        samples: Samples,
        for_test: Tensor,
        *,
        class_names: tuple[str, ...],
        input_shape: tuple[int, ...],
        one_size: bool = True,
    ) -> "Splits":
        """Both sides of one store, of which ``for_test`` [N] says which samples are for testing."""
        train, test = (Subset(samples, side.nonzero().flatten()) for side in (~for_test, for_test))
        return cls(train=train, test=test, class_names=class_names, input_shape=input_shape, one_size=one_size)
