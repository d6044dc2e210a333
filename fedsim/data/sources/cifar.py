"""CIFAR-10 and CIFAR-100, from the pickled batches that their authors publish."""

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from fedsim.data.cache import cached_arrays
from fedsim.data.fetch import fetch
from fedsim.data.samples import Splits, TensorSamples
from fedsim.data.sources.base import DataSource, sources
from fedsim.data.sources.python2_pickle import RefusedPickleError, read_dictionary
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.files import folder_exists
from fedsim.registry import Reference

SHAPE = (3, 32, 32)

KRIZHEVSKY_2009 = Reference(
    authors="Krizhevsky",
    title="Learning Multiple Layers of Features from Tiny Images",
    year=2009,
    venue="Technical report, University of Toronto",
    url="https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf",
)


class Cifar(DataSource):
    """What both have in common: a folder of pickles, each a dictionary of ``data`` [n, 3072] and labels."""

    reads_root = True

    folder: ClassVar[str]
    train_files: ClassVar[Mapping[str, str]]
    """The published MD5 sum of each file."""
    test_files: ClassVar[Mapping[str, str]]
    names_file: ClassVar[str]
    labels_key: ClassVar[str]
    names_key: ClassVar[str]
    classes: ClassVar[int]
    fetcher: ClassVar[str]
    """Name of torchvision's class, which knows the archive's address and checksum."""

    def check(self, root: Path | None) -> None:
        super().check(root)
        assert root is not None
        for name in (*self.train_files, *self.test_files, self.names_file):
            if not (self._files(root) / name).is_file():
                remedy = f"remove what there is of {self._files(root)}; then {self.repair(root)}"
                raise ConfigError("root", f"there is no file {self._files(root) / name}", remedy)

    def prepare(self, root: Path | None) -> None:
        try:
            self.check(root)
        except ConfigError:
            if root is None or folder_exists(self._files(root)):
                raise
            self._fetch(root)
        super().prepare(root)

    def _fetch(self, root: Path) -> None:
        import torchvision

        published = getattr(torchvision.datasets, self.fetcher)
        fetch(root, self.folder, lambda place: published(place, download=True), self.name)

    def _files(self, root: Path) -> Path:
        return root if (root / self.names_file).is_file() else root / self.folder

    def load(self, root: Path | None) -> Splits:
        assert root is not None
        self.check(root)
        files = [self._files(root) / name for name in (*self.train_files, *self.test_files)]
        facts = [(str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        mark = hashlib.blake2b(str(facts).encode(errors="surrogateescape"), digest_size=8).hexdigest()
        arrays = cached_arrays(
            f"{self.name}-{mark}",
            ["train_images", "train_labels", "test_images", "test_labels", "published"],
            lambda folder: self._convert(root, folder),
        )
        if not arrays["published"].all():
            text = f"{self._files(root)} holds other files than the published ones (by their MD5 sums)"
            warnings.warn(text, FedsimWarning, stacklevel=2)
        train, test = (
            TensorSamples(
                torch.from_numpy(arrays[f"{part}_images"]).view(-1, *SHAPE),
                torch.from_numpy(arrays[f"{part}_labels"]).long(),
            )
            for part in ("train", "test")
        )
        return Splits(train=train, test=test, class_names=self._class_names(root), input_shape=SHAPE)

    def _convert(self, root: Path, folder: Path) -> None:
        published = []
        for part, files in (("train", self.train_files), ("test", self.test_files)):
            batches = [self._read_batch(root, name) for name in files]
            np.save(folder / f"{part}_images.npy", np.concatenate([images for images, _ in batches]))
            np.save(folder / f"{part}_labels.npy", np.concatenate([labels for _, labels in batches]))
            published += [_md5(self._files(root) / name) == known for name, known in files.items()]
        np.save(folder / "published.npy", np.array(published))

    def _read_batch(self, root: Path, name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        batch = self._read(root, name)
        images, labels = batch.get("data"), batch.get(self.labels_key)
        if not isinstance(images, np.ndarray) or images.ndim != 2 or images.shape[1] != np.prod(SHAPE):
            raise self._damaged(root, name, "no images of 3 x 32 x 32 bytes under 'data'")
        if not isinstance(labels, list) or not _fit(labels, len(images), self.classes):
            raise self._damaged(root, name, f"no class below {self.classes} for each image under '{self.labels_key}'")
        return images, np.array(labels, dtype=np.uint8)

    def _class_names(self, root: Path) -> tuple[str, ...]:
        names = self._read(root, self.names_file).get(self.names_key)
        is_text = isinstance(names, list) and all(isinstance(name, bytes | str) for name in names)
        if not isinstance(names, list) or not is_text or len(names) != self.classes:
            raise self._damaged(root, self.names_file, f"no {self.classes} names under '{self.names_key}'")
        return tuple(name.decode("latin1") if isinstance(name, bytes) else name for name in names)

    def _read(self, root: Path, name: str) -> dict[str, Any]:
        try:
            return read_dictionary(self._files(root) / name)
        except (RefusedPickleError, OSError) as error:
            raise self._damaged(root, name, str(error)) from None

    def _damaged(self, root: Path, name: str, problem: str) -> ConfigError:
        path = self._files(root) / name
        return ConfigError("root", f"{path} is not usable: {problem}", f"remove it; then {self.repair(root)}")


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _fit(labels: list[Any], count: int, classes: int) -> bool:
    return len(labels) == count and all(type(label) is int and 0 <= label < classes for label in labels)


@sources.register("cifar10", KRIZHEVSKY_2009)
class Cifar10(Cifar):
    """60 000 photographs of 32 x 32 pixels in 10 classes, 10 000 of them to test."""

    folder = "cifar-10-batches-py"
    fetcher = "CIFAR10"
    train_files: ClassVar[Mapping[str, str]] = {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    }
    test_files: ClassVar[Mapping[str, str]] = {"test_batch": "40351d587109b95175f43aff81a1287e"}
    names_file = "batches.meta"
    labels_key, names_key, classes = "labels", "label_names", 10


@sources.register("cifar100", KRIZHEVSKY_2009)
class Cifar100(Cifar):
    """60 000 photographs of 32 x 32 pixels in 100 classes, 10 000 of them to test."""

    folder = "cifar-100-python"
    fetcher = "CIFAR100"
    train_files: ClassVar[Mapping[str, str]] = {"train": "16019d7e3df5f24257cddd939b257f8d"}
    test_files: ClassVar[Mapping[str, str]] = {"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"}
    names_file = "meta"
    labels_key, names_key, classes = "fine_labels", "fine_label_names", 100
