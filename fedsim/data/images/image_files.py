"""Image files, decoded once into one array that every rank maps."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from fedsim.data.images.image_formats import decoders_for
from fedsim.data.samples import Columns, Samples, TensorSamples
from fedsim.data.storage.cache import cached_arrays, is_cached, reserve_array
from fedsim.data.storage.cache_room import future_folder, require_room
from fedsim.errors import ConfigError
from fedsim.files import open_file
from fedsim.machine import count_cores

T = TypeVar("T")
R = TypeVar("R")

ShortSide = int | Literal["auto"] | None
"""Pixels above which shorter sides are scaled down; see :func:`stored_sizes`."""

USUAL = 256
"""Pixels of the shorter side that networks for photographs are trained with, before a crop of 224."""

ARRAYS = ("pixels", "sizes")


@dataclass(frozen=True)
class ImagesOfManySizes:
    """RGB images one after another in memory, or in a memory-mapped file.

    Attributes:
        pixels: uint8, all images [C, H, W] flat.
        sizes: height and width of each [N, 2].
        labels: classes [N], int64.
        cached_as: a name that other samples in the cache do not have; empty for samples that are not there.
    """

    pixels: Tensor
    sizes: Tensor
    labels: Tensor
    columns: Columns = field(default_factory=dict)
    cached_as: str = ""

    @cached_property
    def _starts(self) -> Tensor:
        lengths = 3 * self.sizes.prod(1)
        return lengths.cumsum(0) - lengths

    def __len__(self) -> int:
        return len(self.labels)

    def pick(self, indices: Tensor) -> list[Tensor]:
        images = []
        for start, (height, width) in zip(self._starts[indices].tolist(), self.sizes[indices].tolist(), strict=True):
            images.append(self.pixels[start : start + 3 * height * width].view(3, height, width))
        return images


def decode_images(
    files: Sequence[Path],
    labels: Tensor,
    columns: Columns,
    *,
    name: str,
    short_side: ShortSide,
    repair: str,
    smaller: str = "",
) -> tuple[Samples, tuple[int, int, int], bool]:
    """The images in RGB, decoded on first use and cached.

    Args:
        files: at least one.
        name: beginning of the name in the cache.
        short_side: which images are scaled down, see :func:`stored_sizes`.
        repair: what the user does about a damaged file, in words.
        smaller: what the user does to store less of each image, in words; empty if there is no such setting.

    Returns:
        Samples in the order of the files, the smallest shape [C, H, W], and whether all have it.

    Raises:
        ConfigError: a file is missing or no image; the message names it. Or there is no room for the images.
    """

    def make(folder: Path) -> None:
        sizes = _measure(files, short_side, repair)
        _require_room(sizes, folder.parent, smaller)
        _decode_into(folder, files, sizes, repair)

    name = _cached_name(files, name, short_side, repair)
    arrays = cached_arrays(name, ARRAYS, make)
    pixels, sizes = torch.from_numpy(arrays["pixels"]), torch.from_numpy(arrays["sizes"])
    height, width = sizes.min(0).values.tolist()
    if bool((sizes == sizes[0]).all()):
        return TensorSamples(pixels.view(-1, 3, height, width), labels, columns, name), (3, height, width), True
    return ImagesOfManySizes(pixels, sizes, labels, columns, name), (3, height, width), False


def survey_images(files: Sequence[Path], *, name: str, short_side: ShortSide, repair: str, smaller: str = "") -> None:
    """Say what room images will take that are not in the cache yet: what :func:`decode_images` does before decoding.

    Raises:
        ConfigError: a file has no image's beginning, or there is no room.
    """
    if not is_cached(_cached_name(files, name, short_side, repair), ARRAYS):
        _require_room(_measure(files, short_side, repair), future_folder(), smaller)


def stored_sizes(sizes: NDArray[np.int64], short_side: ShortSide) -> NDArray[np.int64]:
    """Height and width of each image [N, 2] as it is stored; none becomes larger.

    Args:
        sizes: of the files [N, 2].
        short_side: shorter sides above it are scaled down to it. ``auto``: as they are where all have one size, else
            at most 256; None: as they are.

    >>> stored_sizes(np.array([[32, 32], [450, 600]]), 64).tolist()
    [[32, 32], [64, 85]]
    """
    if short_side == "auto":
        short_side = None if (sizes == sizes[0]).all() else USUAL
    if short_side is None:
        return sizes
    stored = sizes.copy()
    for image in (sizes.min(axis=1) > short_side).nonzero()[0]:
        height, width = sizes[image].tolist()
        stored[image] = scaled(height, width, short_side)
    return stored


def _cached_name(files: Sequence[Path], name: str, short_side: ShortSide, repair: str) -> str:
    """The name in the cache, with a digest of the files as they are now, by which changed ones are recognised."""
    scaling = short_side if short_side is None else f"at most {short_side}"
    digest = hashlib.blake2b(f"2 {scaling}".encode(), digest_size=8)
    for file in files:
        try:
            facts = file.stat()
        except OSError as error:
            raise ConfigError("root", f"cannot read {file}: {error.strerror}", repair) from None
        digest.update(f"\n{file.absolute()} {facts.st_size} {facts.st_mtime_ns}".encode(errors="surrogateescape"))
    return f"{name}-{digest.hexdigest()}"


def _decode_into(folder: Path, files: Sequence[Path], sizes: NDArray[np.int64], repair: str) -> None:
    ends = (3 * sizes.prod(axis=1)).cumsum()
    pixels = reserve_array(folder / "pixels.npy", (int(ends[-1]),))

    def decode(position: int) -> None:
        height, width = sizes[position].tolist()
        image = read_rgb(files[position], (height, width), repair)
        pixels[ends[position] - image.size : ends[position]] = image.transpose(2, 0, 1).ravel()

    for _ in in_threads(decode, range(len(files)), "decoding images"):
        pass
    np.save(folder / "sizes.npy", sizes)


def _measure(files: Sequence[Path], short_side: ShortSide, repair: str) -> NDArray[np.int64]:
    """Height and width of each image [N, 2] as it will be stored; only the beginnings of the files are read."""

    def size_of(file: Path) -> tuple[int, int]:
        with _opened(file, repair) as image:
            return image.height, image.width

    return stored_sizes(np.array(list(in_threads(size_of, files, "looking at images")), dtype=np.int64), short_side)


def _require_room(sizes: NDArray[np.int64], folder: Path, smaller: str) -> None:
    require_room(3 * int(sizes.prod(axis=1).sum()), folder, f"{len(sizes)} images", smaller)


def scaled(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """Height and width after the shorter side was scaled to ``short_side``, the aspect ratio kept.

    >>> scaled(450, 600, 224)
    (224, 298)
    """
    if short_side is None:
        return height, width
    factor = short_side / min(height, width)
    return max(short_side, int(height * factor)), max(short_side, int(width * factor))


def read_rgb(file: Path, size: tuple[int, int] | None, repair: str) -> NDArray[np.uint8]:
    """The pixels [H, W, 3] of an image file, scaled to ``size`` (height, width) where it has another."""
    with _opened(file, repair) as image:
        if image.mode[0] in "IF":
            raise ValueError(f"it has more than 8 bits per channel ({image.mode}); convert it first")
        picture = image.convert("RGB")
        if size is not None and picture.size != size[::-1]:
            picture = picture.resize(size[::-1], Image.Resampling.BILINEAR)
        return np.asarray(picture)


@contextmanager
def _opened(file: Path, repair: str) -> Iterator[Image.Image]:
    """An open image; whatever goes wrong with it in the block becomes a ConfigError that names the file."""
    try:
        with open_file(file) as content, Image.open(content, formats=decoders_for(file)) as image:
            yield image
    except Exception as error:  # decoders raise nearly everything
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError("root", f"cannot read the image {file}: {what}", repair) from None


def in_threads(work: Callable[[T], R], items: Sequence[T], doing: str) -> Iterator[R]:
    """Results of ``work`` in the order of the items, on as many threads as there are cores, with a progress bar."""
    with ThreadPoolExecutor(count_cores()) as pool, tqdm(total=len(items), desc=doing, delay=2, mininterval=1) as bar:
        try:
            for result in pool.map(work, items):
                bar.update()
                yield result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
