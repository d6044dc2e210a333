"""Images in a data set of the library ``datasets``, decoded once into one array."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedsim.data.images.image_files import in_threads
from fedsim.data.images.image_formats import COMMON
from fedsim.data.storage.cache import reserve_array
from fedsim.errors import ConfigError
from fedsim.files import read_bytes

if TYPE_CHECKING:
    from datasets import Dataset

GREY = ("1", "L")
"""Modes of one channel."""


def write_images(path: Path, dataset: Dataset, name: str) -> NDArray[np.int64] | None:
    """Decode the column ``name`` into an ``.npy`` file: grey where all images are, else RGB.

    Returns:
        Height and width of each [N, 2] where they differ, and images lie one after another; None where they are alike
        and the file holds [N, C, H, W].

    Raises:
        ConfigError: an image cannot be read; the message names its row.
    """
    from datasets import Image as ImageFeature

    encoded = dataset.select_columns([name]).cast_column(name, ImageFeature(decode=False))

    def measure(row: int) -> tuple[int, int, bool]:
        with _opened(encoded, name, row) as image:
            return image.height, image.width, image.mode in GREY

    rows = range(len(encoded))
    facts = np.array(list(in_threads(measure, rows, "looking at images")), dtype=np.int64)
    sizes, one_size = facts[:, :2], bool((facts[:, :2] == facts[0, :2]).all())
    mode, channels = ("L", 1) if one_size and facts[:, 2].all() else ("RGB", 3)
    ends = (channels * sizes.prod(axis=1)).cumsum()
    shape = (len(rows), channels, *sizes[0].tolist()) if one_size else (int(ends[-1]),)
    pixels = reserve_array(path, shape)
    flat = pixels.reshape(-1)

    def decode(row: int) -> None:
        with _opened(encoded, name, row) as image:
            values = np.atleast_3d(np.asarray(image.convert(mode))).transpose(2, 0, 1)
            flat[ends[row] - values.size : ends[row]] = values.ravel()

    for _ in in_threads(decode, rows, "decoding images"):
        pass
    return None if one_size else sizes


@contextmanager
def _opened(encoded: Dataset, name: str, row: int) -> Iterator[Image.Image]:
    """An open image; whatever goes wrong with it in the block becomes a ConfigError that names its row."""
    try:
        value = encoded[row][name]
        content = value["bytes"] if value["bytes"] is not None else read_bytes(Path(value["path"]))
        with Image.open(io.BytesIO(content), formats=COMMON) as image:
            if image.mode[0] in "IF":
                raise ValueError(f"it has more than 8 bits per channel ({image.mode}); convert it first")
            yield image
    except Exception as error:  # decoders raise nearly everything
        problem = f"cannot read the image in row {row} of '{name}': {error}"
        raise ConfigError("root", problem, "leave the row out, and save the data set again") from None
