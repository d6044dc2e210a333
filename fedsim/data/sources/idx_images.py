"""What MNIST and its relatives have in common: IDX files of images and of labels."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedsim.data.formats.idx import image_blocks, images_shape, read_labels
from fedsim.data.sources.converted_images import SIDES, ConvertedImages
from fedsim.data.storage.converted import numbered_from_zero
from fedsim.data.storage.fetch import fetch
from fedsim.errors import ConfigError
from fedsim.files import file_exists

SIZE = (28, 28)
"""Height and width of an image."""


class IdxImages(ConvertedImages):
    """Four files below ``root``: images and labels to train and to test, each with or without ``.gz``.

    They lie where torchvision puts them (``<folder>/raw/``), in ``<folder>/``, or in ``root`` itself.
    """

    folder: ClassVar[str]
    """As torchvision calls it, and the class that fetches it."""

    transposed: ClassVar[bool] = False
    """Whether rows and columns of the stored images are interchanged."""

    @property
    def prefixes(self) -> tuple[str, str]:
        """Beginnings of the names of the files to train and to test."""
        return "train", "t10k"

    @property
    def first_label(self) -> int:
        """The label of class 0."""
        return 0

    def fetch(self, root: Path) -> None:
        import torchvision

        published = getattr(torchvision.datasets, self.folder)
        fetch(root, self.folder, lambda place: published(place, download=True), self.name)

    def files(self, root: Path) -> list[Path]:
        return [self._find(root, name) for side in SIDES for name in self._names(side)]

    def images(self, root: Path, side: str) -> tuple[tuple[int, int, int], Iterator[NDArray[np.uint8]]]:
        blocks = image_blocks(self._find(root, self._names(side)[0]), self.replace(root))
        upright = (block.transpose(0, 2, 1) if self.transposed else block for block in blocks)
        return (1, *SIZE), (block[:, None] for block in upright)

    def labels(self, root: Path, side: str) -> NDArray[np.uint8]:
        images, labels = (self._find(root, name) for name in self._names(side))
        repair = self.replace(root)
        found = read_labels(labels, repair)
        count, *size = images_shape(images, repair)
        if tuple(size) != SIZE:
            raise ConfigError("root", f"{images} holds images of {size[0]} x {size[1]}, not of 28 x 28", repair)
        if count != len(found):
            problem = f"{images} holds {count} images, but {labels} {len(found)} labels"
            raise ConfigError("root", problem, f"remove both; then {self.repair(root)}")
        try:
            return numbered_from_zero(found, self.first_label, len(self.class_names))
        except ValueError as error:
            raise ConfigError("root", f"{labels} is not usable: {error}", repair) from None

    def _names(self, side: str) -> tuple[str, str]:
        prefix = self.prefixes[SIDES.index(side)]
        return f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"

    def _find(self, root: Path, name: str) -> Path:
        places = [root / self.folder / "raw", root / self.folder, root / "gzip", root]
        for place in places:
            for path in (place / name, place / f"{name}.gz"):
                if file_exists(path):
                    return path
        problem = f"there is no file {places[0] / name} (nor with .gz, nor in {root} itself)"
        raise ConfigError("root", problem, self.repair(root))
