"""Images that come in a few large files, converted once into arrays that every rank maps."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from fedsim.data.samples import Splits, TensorSamples
from fedsim.data.storage.cache import cache_folder, cached_arrays, reserve_array
from fedsim.errors import ConfigError
from fedsim.files import folder_exists

AT_ONCE = 4096
"""Images that are converted together."""

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")


def cache_name(name: str, files: Sequence[Path], facts: object, repair: str) -> str:
    """A name in the cache; it is another one for other files, and for files that have changed.

    Args:
        name: beginning of it.
        facts: what else decides what becomes of the files, in a form whose ``repr`` says all.
        repair: what the user does about a missing file, in words.
    """
    digest = hashlib.blake2b(repr(facts).encode(), digest_size=8)
    for file in files:
        try:
            found = file.stat()
        except OSError as error:
            raise ConfigError("root", f"cannot read {file}: {error.strerror}", repair) from None
        digest.update(f"\n{file.absolute()} {found.st_size} {found.st_mtime_ns}".encode(errors="surrogateescape"))
    return f"{name}-{digest.hexdigest()}"


def is_converted(name: str) -> bool:
    """Whether the cache has a folder of this name, so that loading it takes no time."""
    return folder_exists(cache_folder() / name)


def image_splits(name: str, class_names: Sequence[str], convert: Callable[[Path], None]) -> Splits:
    """Training and test images from the cached folder ``name``.

    Args:
        convert: fills the folder it is given with ``.npy`` files of the names :data:`ARRAYS`: images uint8
            [n, C, H, W], labels [n].
    """
    arrays = cached_arrays(name, ARRAYS, convert)
    train, test = (
        TensorSamples(
            torch.from_numpy(arrays[f"{side}_images"]),
            torch.from_numpy(arrays[f"{side}_labels"]).long(),
            cached_as=f"{name}-{side}",
        )
        for side in ("train", "test")
    )
    return Splits(train=train, test=test, class_names=tuple(class_names), input_shape=tuple(train.inputs.shape[1:]))


def store_images(path: Path, shape: tuple[int, ...], blocks: Iterable[NDArray[np.uint8]]) -> None:
    """Write images block after block into a new ``.npy`` file, so that they never are in memory all at once.

    Args:
        shape: of all of them [n, C, H, W].
        blocks: some images each [k, C, H, W], n together.
    """
    images, end = reserve_array(path, shape), 0
    with tqdm(total=shape[0], desc=f"converting {path.stem.replace('_', ' ')}", delay=2, mininterval=1) as bar:
        for block in blocks:
            images[end : end + len(block)] = block
            end += len(block)
            bar.update(len(block))
    assert end == shape[0], f"{end} of {shape[0]} images"


def numbered_from_zero(labels: NDArray[Any], first: int, count: int) -> NDArray[np.uint8]:
    """Labels ``first`` to ``first + count - 1`` as classes 0 to ``count - 1``.

    Raises:
        ValueError: a label is none of these.

    >>> numbered_from_zero(np.array([1, 3]), first=1, count=3)
    array([0, 2], dtype=uint8)
    """
    wrong = np.flatnonzero((labels < first) | (labels >= first + count))
    if len(wrong):
        raise ValueError(f"label {labels[wrong[0]]} of sample {wrong[0]} is not from {first} to {first + count - 1}")
    return (labels - first).astype(np.uint8)
