"""MedMNIST: medical images of many kinds, from the NPZ archive that its authors publish of each set."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedsim.data.formats.medmnist_classes import CLASSES, NOT_READ
from fedsim.data.formats.npz import StoredArray, stored_array
from fedsim.data.sources.base import sources
from fedsim.data.sources.converted_images import ConvertedImages
from fedsim.data.storage.converted import AT_ONCE, numbered_from_zero
from fedsim.data.storage.fetch import fetch
from fedsim.errors import ConfigError, did_you_mean
from fedsim.files import file_exists
from fedsim.registry import Reference
from fedsim.settings import Schema

WHERE = "https://zenodo.org/records/10519652"


@sources.register(
    "medmnist",
    Reference(
        authors="Yang, Shi, Wei, Liu, Zhao, Ke, Pfister and Ni",
        title="MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image classification",
        year=2023,
        venue="Scientific Data",
        url="https://doi.org/10.1038/s41597-022-01721-8",
    ),
)
class MedMnist(ConvertedImages):
    """Medical images of 28 to 224 pixels a side: the sets of MedMNIST in two dimensions with one label an image."""

    class Settings(Schema):
        dataset: str = Field("pathmnist", description=f"which set: {', '.join(CLASSES)}")
        size: Literal[28, 64, 128, 224] = Field(28, description="pixels of a side; of each size there is a file")
        with_validation: bool = Field(
            False, description="train on the validation images, too; otherwise they are not used"
        )

    settings: Settings

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        name = self.settings.dataset
        if name in NOT_READ:
            raise ConfigError("dataset", f"{name} is not supported: {NOT_READ[name]}", f"take {', '.join(CLASSES)}")
        if name not in CLASSES:
            raise ConfigError("dataset", f"MedMNIST has no set '{name}'", did_you_mean(name, CLASSES))

    @property
    def class_names(self) -> tuple[str, ...]:
        return CLASSES[self.settings.dataset]

    def repair(self, root: Path | None) -> str:
        place = f"put {self._file} from {WHERE} into {root or 'FOLDER'}"
        return f"{place}, or after `pip install medmnist` {super().repair(root)}"

    @property
    def _file(self) -> str:
        size = self.settings.size
        return f"{self.settings.dataset}{'' if size == 28 else f'_{size}'}.npz"

    def fetch(self, root: Path) -> None:
        try:
            from medmnist import INFO  # addresses and checksums
        except ImportError:
            return
        from torchvision.datasets.utils import download_url

        facts, size = INFO[self.settings.dataset], self.settings.size
        suffix = "" if size == 28 else f"_{size}"

        def download(place: str) -> None:
            download_url(facts[f"url{suffix}"], place, self._file, facts[f"MD5{suffix}"])

        fetch(root, self._file, download, self.name)

    def files(self, root: Path) -> list[Path]:
        path = root / self._file
        if not file_exists(path):
            raise ConfigError("root", f"there is no file {path}", self.repair(root))
        return [path]

    def labels(self, root: Path, side: str) -> NDArray[np.uint8]:
        return np.concatenate([self._labels_of(root, part) for part in self._parts(side)])

    def images(self, root: Path, side: str) -> tuple[tuple[int, int, int], Iterator[NDArray[np.uint8]]]:
        arrays = [self._images_of(root, part) for part in self._parts(side)]
        height, width, *channels = arrays[0].shape[1:]
        blocks = (block for array in arrays for block in array.blocks(AT_ONCE))
        return (channels[0] if channels else 1, height, width), map(_channels_first, blocks)

    def _parts(self, side: str) -> tuple[str, ...]:
        return ("train", "val") if side == "train" and self.settings.with_validation else (side,)

    def _images_of(self, root: Path, part: str) -> StoredArray:
        """The images of a part [n, H, W] or [n, H, W, 3], of the shape of those to train."""
        size = self.settings.size
        array, first = (self._stored(root, f"{name}_images") for name in (part, "train"))
        if array.dtype != np.uint8 or array.shape[1:] not in ((size, size), (size, size, 3)):
            wanted = f"not bytes [n, {size}, {size}] or [n, {size}, {size}, 3]"
            raise self._damaged(root, f"'{array.name}' is {array.dtype} {list(array.shape)}, {wanted}")
        if array.shape[1:] != first.shape[1:]:
            other = f"'{first.name}' is {list(first.shape)}"
            raise self._damaged(root, f"'{array.name}' is {list(array.shape)}, but {other}")
        return array

    def _labels_of(self, root: Path, part: str) -> NDArray[np.uint8]:
        count = self._images_of(root, part).shape[0]
        array = self._stored(root, f"{part}_labels")
        if array.dtype.kind not in "ui" or array.shape not in ((count, 1), (count,)):
            has = f"{array.dtype} {list(array.shape)}"
            raise self._damaged(root, f"'{array.name}' is {has}, not one whole number for each of {count} images")
        labels = array.read().ravel()
        try:
            return numbered_from_zero(labels, 0, len(self.class_names))
        except ValueError as error:
            raise self._damaged(root, f"'{array.name}': {error}") from None

    def _stored(self, root: Path, name: str) -> StoredArray:
        return stored_array(root / self._file, name, self.replace(root))

    def _damaged(self, root: Path, problem: str) -> ConfigError:
        return ConfigError("root", f"{root / self._file} is not usable: {problem}", self.replace(root))


def _channels_first(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Images [k, H, W] or [k, H, W, 3] as [k, C, H, W]."""
    return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
