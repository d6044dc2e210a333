"""SVHN, cropped digits: house numbers, from the MATLAB files that their authors publish."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedsim.data.sources.base import sources
from fedsim.data.sources.converted_images import SIDES, ConvertedImages
from fedsim.data.storage.converted import AT_ONCE, numbered_from_zero
from fedsim.data.storage.fetch import fetch
from fedsim.errors import ConfigError
from fedsim.files import file_exists, open_file
from fedsim.registry import Reference
from fedsim.settings import Schema

SHAPE = (3, 32, 32)
PLACES = (".", "svhn", "SVHN")
ZERO = 10
"""The label of the digit 0; those of the others are the digits."""


@sources.register(
    "svhn",
    Reference(
        authors="Netzer, Wang, Coates, Bissacco, Wu and Ng",
        title="Reading Digits in Natural Images with Unsupervised Feature Learning",
        year=2011,
        venue="NIPS Workshop on Deep Learning and Unsupervised Feature Learning",
        url="http://ufldl.stanford.edu/housenumbers/nips2011_housenumbers.pdf",
    ),
)
class Svhn(ConvertedImages):
    """Digits of house numbers, 73 257 photographs of 32 x 32 pixels to train, 26 032 to test."""

    class Settings(Schema):
        extra: bool = Field(False, description="train on the 531 131 easier images of extra_32x32.mat, too")

    settings: Settings
    class_names = tuple("0123456789")

    def fetch(self, root: Path) -> None:
        import torchvision

        for part in (part for side in SIDES for part in self._parts(side)):
            if self._places(root, part):
                continue
            fetch(root, f"{part}_32x32.mat", _download(torchvision.datasets.SVHN, part), self.name)

    def files(self, root: Path) -> list[Path]:
        return [path for side in SIDES for path in self._files(root, side)]

    def labels(self, root: Path, side: str) -> NDArray[np.uint8]:
        return np.concatenate([_read_labels(path, self.replace(root)) for path in self._files(root, side)])

    def images(self, root: Path, side: str) -> tuple[tuple[int, int, int], Iterator[NDArray[np.uint8]]]:
        return SHAPE, (block for path in self._files(root, side) for block in _image_blocks(path, self.replace(root)))

    def _parts(self, side: str) -> tuple[str, ...]:
        return ("train", "extra") if side == "train" and self.settings.extra else (side,)

    def _files(self, root: Path, side: str) -> list[Path]:
        return [self._find(root, part) for part in self._parts(side)]

    def _find(self, root: Path, part: str) -> Path:
        found = self._places(root, part)
        if not found:
            raise ConfigError("root", f"there is no file {root / f'{part}_32x32.mat'}", self.repair(root))
        return found[0]

    def _places(self, root: Path, part: str) -> list[Path]:
        """Where the file of a part is."""
        paths = [root / place / f"{part}_32x32.mat" for place in PLACES]
        return [path for path in paths if file_exists(path)]


def _download(published: type, part: str) -> Callable[[str], object]:
    return lambda place: published(place, split=part, download=True)


def _read_labels(path: Path, repair: str) -> NDArray[np.uint8]:
    """The digit on each image [n]. The images, of which only the shape is read, are before them in the file."""
    shape = _shapes(path, repair).get("X", ())
    if len(shape) != 4 or shape[:3] != (32, 32, 3):
        raise _damaged(path, "it holds no images [32, 32, 3, n] under 'X'", repair)
    labels = _variable(path, "y", repair)
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "ui" or labels.size != shape[3]:
        raise _damaged(path, f"it holds no label for each of {shape[3]} images under 'y'", repair)
    try:
        return (numbered_from_zero(labels.ravel(), 1, ZERO) + 1) % ZERO
    except ValueError as error:
        raise _damaged(path, error, repair) from None


def _image_blocks(path: Path, repair: str) -> Iterator[NDArray[np.uint8]]:
    """The images of a file, some at a time [k, 3, 32, 32]."""
    images = _variable(path, "X", repair)
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        raise _damaged(path, "its images under 'X' are not of bytes", repair)
    images = images.transpose(3, 2, 0, 1)
    for start in range(0, len(images), AT_ONCE):
        yield images[start : start + AT_ONCE]


def _shapes(path: Path, repair: str) -> dict[str, tuple[int, ...]]:
    """Of the variables in a file, by name."""
    from scipy.io import whosmat  # takes a while to import

    with _opened(path, repair) as file:
        return {name: shape for name, shape, _ in whosmat(file)}


def _variable(path: Path, name: str, repair: str) -> Any:
    """What a file has under a name, None if it has not."""
    from scipy.io import loadmat

    with _opened(path, repair) as file:
        return loadmat(file, variable_names=[name]).get(name)


@contextmanager
def _opened(path: Path, repair: str) -> Iterator[BinaryIO]:
    """An open file; whatever goes wrong with it in the block becomes a ConfigError that names it."""
    try:
        with open_file(path) as file:
            yield file
    except Exception as error:  # a damaged file raises nearly everything
        raise _damaged(path, error, repair) from None


def _damaged(path: Path, problem: object, repair: str) -> ConfigError:
    return ConfigError("root", f"{path} is not usable: {str(problem).strip() or type(problem).__name__}", repair)
