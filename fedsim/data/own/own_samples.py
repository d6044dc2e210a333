"""Samples that users bring as arrays, checked and converted once, and mapped from the cache by every rank."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedsim.data.images.class_folders import held_out
from fedsim.data.images.image_files import ImagesOfManySizes
from fedsim.data.samples import Samples, Splits, Subset, TensorSamples
from fedsim.data.storage.cache import Arrays, cached_arrays
from fedsim.errors import ConfigError, FedsimWarning

ARRAYS = ("inputs", "sizes", "labels", "class_names", "columns", "column_names", "for_test", "vocabulary", "notes")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of samples beside their inputs, which are in the cache already.

    Attributes:
        labels: classes [N], or [N, T] of the positions of sequences.
        columns: text or numbers [N] by name.
        for_test: which samples are for testing [N]; None if a share of them is to be held out.
        sizes: height and width of each image [N, 2] where they differ; the inputs are then flat.
        vocabulary: how many token ids there are, where inputs are such.
        notes: what is reported to the user about the samples.
    """

    labels: NDArray[np.int64]
    class_names: Sequence[str]
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    for_test: NDArray[np.bool_] | None = None
    sizes: NDArray[np.int64] | None = None
    vocabulary: int | None = None
    notes: Sequence[str] = ()


MakeSamples = Callable[[Path], Facts]
"""Writes ``inputs.npy`` into a folder and says the rest."""


def own_samples(root: Path, name: str, make: MakeSamples, test_share: float, split_seed: int) -> Splits:
    """The samples that ``make`` gives, made on first use and cached under ``name``.

    Args:
        root: where they come from, which messages name.
        test_share: share of each class that is held out where no sample is for testing.
        split_seed: of the draw of these.
    """

    def write(folder: Path) -> None:
        with naming(root):
            facts = make(folder)
        _write(folder, facts)

    arrays = cached_arrays(name, ARRAYS, write)
    samples, shape, one_size = _samples(arrays, name)
    with naming(root):
        for_test = tests_among(samples.labels, arrays["for_test"], test_share, split_seed)
    for note in arrays["notes"].tolist():
        warnings.warn(f"{root}: {note}", FedsimWarning, stacklevel=3)
    return Splits(
        train=Subset(samples, (~for_test).nonzero().flatten()),
        test=Subset(samples, for_test.nonzero().flatten()),
        class_names=tuple(arrays["class_names"].tolist()),
        input_shape=shape,
        one_size=one_size,
        vocabulary=int(arrays["vocabulary"]) or None,
    )


@contextmanager
def naming(root: Path) -> Iterator[None]:
    """Put the place of the data in front of problems with them that do not say it."""
    try:
        yield
    except ConfigError as error:
        if str(root) in error.problem + error.remedy:
            raise
        raise ConfigError(error.key, f"{root}: {error.problem}", error.remedy) from None


def tests_among(labels: Tensor, for_test: NDArray[np.bool_] | None, share: float, seed: int) -> Tensor:
    """Which samples are for testing [N]: those that are said to be, else a share of each class.

    Of sequences with a class at each position, it is a share of all sequences.

    Raises:
        ConfigError: none can be held out, because each class has a single sample.
    """
    if for_test is not None and len(for_test):
        return torch.from_numpy(np.array(for_test))
    chosen = held_out(labels if labels.ndim == 1 else torch.zeros(len(labels), dtype=torch.int64), share, seed)
    if not chosen.any():
        problem = "every class has a single sample, so none can be held out for testing"
        raise ConfigError("root", problem, "add samples for testing, or check which labels are read")
    return chosen


def _write(folder: Path, facts: Facts) -> None:
    """Write everything but the inputs; text, because what is read from the cache is never unpickled."""
    count = len(facts.labels)
    columns = [np.asarray(values).astype(np.str_) for values in facts.columns.values()]
    contents: Mapping[str, Any] = {
        "sizes": np.empty((0, 2), np.int64) if facts.sizes is None else facts.sizes,
        "labels": facts.labels,
        "class_names": np.array(facts.class_names, dtype=np.str_),
        "columns": np.stack(columns) if columns else np.empty((0, count), dtype=np.str_),
        "column_names": np.array(list(facts.columns), dtype=np.str_),
        "for_test": np.empty(0, np.bool_) if facts.for_test is None else facts.for_test,
        "vocabulary": np.array(facts.vocabulary or 0),
        "notes": np.array(list(facts.notes), dtype=np.str_),
    }
    for name, content in contents.items():
        np.save(folder / f"{name}.npy", content)


def _samples(arrays: Arrays, name: str) -> tuple[Samples, tuple[int, ...], bool]:
    """All samples, the shape of one (of the smallest height and width), and whether all have it."""
    inputs, labels = torch.from_numpy(arrays["inputs"]), torch.from_numpy(arrays["labels"])
    names, columns = arrays["column_names"].tolist(), arrays["columns"]
    by_name = {column: values.tolist() for column, values in zip(names, columns, strict=True)}
    if not len(arrays["sizes"]):
        return TensorSamples(inputs, labels, by_name, name), tuple(inputs.shape[1:]), True
    sizes = torch.from_numpy(arrays["sizes"])
    height, width = sizes.min(0).values.tolist()
    return ImagesOfManySizes(inputs, sizes, labels, by_name, name), (3, height, width), False
