"""What sources have in common whose images come in a few large files."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fedsim.data.samples import Splits, TensorSamples
from fedsim.data.sides import check_sides
from fedsim.data.sources.base import DataSource, Outline
from fedsim.data.storage.converted import cache_name, image_splits, is_converted, store_images
from fedsim.errors import ConfigError

SIDES = ("train", "test")


class ConvertedImages(DataSource):
    """A few files, converted once; a subclass names them and :attr:`class_names`, and reads them."""

    reads_root = True

    @property
    @abstractmethod
    def class_names(self) -> Sequence[str]:
        """Of the classes 0, 1, ..."""
        raise NotImplementedError

    @abstractmethod
    def files(self, root: Path) -> list[Path]:
        """All that are read. ConfigError if one is missing."""
        raise NotImplementedError

    @abstractmethod
    def labels(self, root: Path, side: str) -> NDArray[np.uint8]:
        """Classes [n] of the images of a side, ``train`` or ``test``; this takes no time.

        Raises:
            ConfigError: a file is damaged, or holds another number of images than of labels, or other labels.
        """
        raise NotImplementedError

    @abstractmethod
    def images(self, root: Path, side: str) -> tuple[tuple[int, int, int], Iterator[NDArray[np.uint8]]]:
        """Shape of an image (C, H, W), and all n images of a side, some at a time [k, C, H, W].

        Raises:
            ConfigError: a file is damaged.
        """
        raise NotImplementedError

    def check(self, root: Path | None) -> None:
        super().check(root)
        assert root is not None
        self.files(root)

    def repair(self, root: Path | None) -> str:
        settings = self.settings
        given = [f" {key}={str(getattr(settings, key)).lower()}" for key in sorted(settings.model_fields_set)]
        command = f"python -m fedsim.prepare {self.name} --root {root or 'FOLDER'}{''.join(given)}"
        return f"`{command}` fetches, checks and decodes it"

    def replace(self, root: Path) -> str:
        """What the user does about a damaged file, in words."""
        return f"remove it; then {self.repair(root)}"

    def survey(self, root: Path | None) -> Outline | None:
        super().survey(root)
        assert root is not None
        train, test = (torch.from_numpy(self._labels(root, side)).long() for side in SIDES)
        check_sides(train, test, self.class_names)
        return TensorSamples(torch.empty(len(train), 0), train), TensorSamples(torch.empty(len(test), 0), test)

    def sketch(self, root: Path | None) -> Splits | None:
        self.check(root)
        assert root is not None
        return self.load(root) if is_converted(self._cache_name(root)) else None

    def load(self, root: Path | None) -> Splits:
        self.check(root)
        assert root is not None
        return image_splits(self._cache_name(root), self.class_names, lambda folder: self._convert(root, folder))

    def _convert(self, root: Path, folder: Path) -> None:
        labels = {side: self._labels(root, side) for side in SIDES}  # damaged ones are found first
        for side in SIDES:
            shape, blocks = self.images(root, side)
            store_images(folder / f"{side}_images.npy", (len(labels[side]), *shape), blocks)
            np.save(folder / f"{side}_labels.npy", labels[side])

    def _labels(self, root: Path, side: str) -> NDArray[np.uint8]:
        labels = self.labels(root, side)
        if len(labels) == 0:
            raise ConfigError("root", f"{root} holds no images to {side}", self.repair(root))
        return labels

    def _cache_name(self, root: Path) -> str:
        return cache_name(self.name, self.files(root), self.settings, self.repair(root))
