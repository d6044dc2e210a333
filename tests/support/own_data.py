"""Small data of users: arrays, tables and data sets that the library ``datasets`` saves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from fedsim.data import Samples


def blobs(count: int = 60, features: int = 4, classes: int = 3, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Numbers around a centre for each class [N, D], and labels [N] in turn."""
    draws = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    return 3.0 * labels[:, None] + draws.normal(size=(count, features)), labels


def bytes_of(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    """Random bytes."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_npz(path: Path, **arrays: Any) -> Path:
    """One file of arrays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def write_npy(folder: Path, **arrays: Any) -> Path:
    """A file for each array."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", np.asarray(array))
    return folder


def write_csv(path: Path, columns: Mapping[str, Sequence[Any]], delimiter: str = ",") -> Path:
    """A table, a line for each row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [list(columns), *zip(*columns.values(), strict=True)]
    path.write_text("".join(delimiter.join(map(str, line)) + "\n" for line in lines))
    return path


def contents(samples: Samples) -> NDArray[Any]:
    """All inputs [N, ...], in order."""
    picked = samples.pick(torch.arange(len(samples)))
    assert isinstance(picked, torch.Tensor)
    return picked.numpy()


def dataset_of(columns: Mapping[str, Any], features: Mapping[str, Any] | None = None) -> Any:
    """A data set of the library ``datasets``; skips where it is not installed."""
    datasets = pytest.importorskip("datasets", reason="needs the extra hf")
    datasets.disable_progress_bars()
    return datasets.Dataset.from_dict(dict(columns), features=datasets.Features(dict(features)) if features else None)


def pictures_dataset(
    count: int, sizes: Sequence[tuple[int, int]] = ((20, 18),), mode: str = "L", seed: int = 0
) -> Any:
    """Images with the column ``writer``, classes a, b, c in turn."""
    datasets = pytest.importorskip("datasets", reason="needs the extra hf")
    draws = np.random.default_rng(seed)
    images = []
    for number in range(count):
        shape = (*sizes[number % len(sizes)], *((3,) if mode == "RGB" else ()))
        images.append(Image.fromarray(draws.integers(0, 256, shape, dtype=np.uint8)))
    features = {
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=["a", "b", "c"]),
        "writer": datasets.Value("string"),
    }
    labels = [number % 3 for number in range(count)]
    return dataset_of({"image": images, "label": labels, "writer": [f"w{n % 4}" for n in range(count)]}, features)
