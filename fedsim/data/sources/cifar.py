"""CIFAR-10 and CIFAR-100, from the pickled batches that their authors publish."""

import hashlib
import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from fedsim.data.images.channel_statistics import Normalization
from fedsim.data.samples import Splits, TensorSamples
from fedsim.data.sources.base import DataSource, sources
from fedsim.data.storage.cache import cached_arrays
from fedsim.data.storage.fetch import fetch
from fedsim.errors import ConfigError
from fedsim.files import folder_exists, read_bytes
from fedsim.registry import Reference
from fedsim.settings import Schema

SHAPE = (3, 32, 32)

KRIZHEVSKY_2009 = Reference(
    authors="Krizhevsky",
    title="Learning Multiple Layers of Features from Tiny Images",
    year=2009,
    venue="Technical report, University of Toronto",
    url="https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf",
)

LARGEST = 2**30
"""Bytes of the largest file that is read; CIFAR's largest has 155 MB."""


class _CifarUnpickler(pickle.Unpickler):
    """Gives a pickle access to the three names that CIFAR's files hold, and to nothing else.

    A pickle is a program that calls what it names. These three make arrays and have no other effect.
    """

    _ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),  # the same since numpy 2
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no file of CIFAR holds")
        return super().find_class(module, name)


def _unpickled(raw: bytes) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"dtype\(\): align")  # numpy 2.4.0, of the files' 0 for false
        return _CifarUnpickler(io.BytesIO(raw), encoding="bytes").load()


class Cifar(DataSource):
    """What both have in common: a folder of pickles, each a dictionary of ``data`` [n, 3072] and labels."""

    class Settings(Schema):
        verify: bool = Field(
            True, description="accept the published files only, by MD5; false: other files of the same format too"
        )

    reads_root = True
    settings: Settings

    folder: ClassVar[str]
    train_files: ClassVar[tuple[str, ...]]
    test_files: ClassVar[tuple[str, ...]]
    names_file: ClassVar[str]
    labels_key: ClassVar[str]
    names_key: ClassVar[str]
    classes: ClassVar[int]
    torchvision_class: ClassVar[str]
    """Name of torchvision's class, which knows the archive's address and the MD5 of each file."""
    mean_and_std: ClassVar[Normalization]
    """Of the published training images."""

    @property
    def published_statistics(self) -> Normalization | None:
        return self.mean_and_std if self.settings.verify else None  # other files have others

    def check(self, root: Path | None) -> None:
        super().check(root)
        assert root is not None
        for path in self._files(root):
            if not path.is_file():
                remedy = f"remove what there is of {path.parent}; then {self.repair(root)}"
                raise ConfigError("root", f"there is no file {path}", remedy)

    def prepare(self, root: Path | None) -> Splits:
        try:
            self.check(root)
        except ConfigError:
            if root is None or folder_exists(self._folder(root)):
                raise
            self._fetch(root)
        return super().prepare(root)

    def _fetch(self, root: Path) -> None:
        import torchvision

        published = getattr(torchvision.datasets, self.torchvision_class)
        fetch(root, self.folder, lambda place: published(place, download=True), self.name)

    def _folder(self, root: Path) -> Path:
        return root if (root / self.names_file).is_file() else root / self.folder

    def _files(self, root: Path) -> list[Path]:
        return [self._folder(root) / name for name in (*self.train_files, *self.test_files, self.names_file)]

    def load(self, root: Path | None) -> Splits:
        assert root is not None
        self.check(root)
        files = [(str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns) for path in self._files(root)]
        facts = (self.settings.verify, files)  # what was accepted unverified is not taken for verified
        key = hashlib.blake2b(str(facts).encode(errors="surrogateescape"), digest_size=8).hexdigest()
        name = f"{self.name}-{key}"
        arrays = cached_arrays(
            name,
            ["train_images", "train_labels", "test_images", "test_labels", "class_names"],
            lambda folder: self._convert(root, folder),
        )
        train, test = (
            TensorSamples(
                torch.from_numpy(arrays[f"{part}_images"]).view(-1, *SHAPE),
                torch.from_numpy(arrays[f"{part}_labels"]).long(),
                cached_as=f"{name}-{part}",
            )
            for part in ("train", "test")
        )
        return Splits(train=train, test=test, class_names=tuple(arrays["class_names"].tolist()), input_shape=SHAPE)

    def _convert(self, root: Path, folder: Path) -> None:
        known = self._published_sums() if self.settings.verify else None
        contents = {path.name: self._read(root, path, known) for path in self._files(root)}
        for part, names in (("train", self.train_files), ("test", self.test_files)):
            batches = [self._batch(root, name, contents[name]) for name in names]
            np.save(folder / f"{part}_images.npy", np.concatenate([images for images, _ in batches]))
            np.save(folder / f"{part}_labels.npy", np.concatenate([labels for _, labels in batches]))
        np.save(folder / "class_names.npy", np.array(self._class_names(root, contents[self.names_file])))

    def _published_sums(self) -> Mapping[str, str]:
        """The MD5 of each file."""
        import torchvision  # takes seconds to import; a run whose data are in the cache does without

        published = getattr(torchvision.datasets, self.torchvision_class)
        return dict([*published.train_list, *published.test_list, (self.names_file, published.meta["md5"])])

    def _batch(
        self, root: Path, name: str, content: Mapping[str, Any]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        images, labels = content.get("data"), content.get(self.labels_key)
        if not _are_images(images):
            raise self._damaged(root, name, "no images of 3 x 32 x 32 bytes under 'data'")
        if not _are_labels(labels, len(images), self.classes):
            raise self._damaged(root, name, f"no class below {self.classes} for each image under '{self.labels_key}'")
        return images, np.array(labels, dtype=np.uint8)

    def _class_names(self, root: Path, content: Mapping[str, Any]) -> list[str]:
        names = content.get(self.names_key)
        is_text = isinstance(names, list) and all(isinstance(name, bytes | str) for name in names)
        if not isinstance(names, list) or not is_text or len(names) != self.classes:
            raise self._damaged(root, self.names_file, f"no {self.classes} names under '{self.names_key}'")
        return [_text(name) for name in names]

    def _read(self, root: Path, path: Path, known: Mapping[str, str] | None) -> dict[str, Any]:
        """The dictionary in a file, whose MD5 must be the ``known`` one; what is checked and what is read is one."""
        try:
            if path.stat().st_size > LARGEST:
                raise self._damaged(root, path.name, f"it is larger than {LARGEST} bytes")
            raw = read_bytes(path)
        except OSError as error:
            raise self._damaged(root, path.name, str(error)) from None
        if known is not None and hashlib.md5(raw, usedforsecurity=False).hexdigest() != known[path.name]:
            remedy = f"remove it; then {self.repair(root)}; or accept other files of this format by `verify: false`"
            raise ConfigError("root", f"{path} is not the published file (by its MD5)", remedy)
        try:
            content = _unpickled(raw)
        except Exception as error:  # a damaged pickle raises nearly everything
            problem = str(error) if isinstance(error, pickle.UnpicklingError) else f"{type(error).__name__}: {error}"
            raise self._damaged(root, path.name, problem) from None
        if not isinstance(content, dict) or not all(isinstance(key, bytes | str) for key in content):
            raise self._damaged(root, path.name, "it holds no dictionary with keys of text")
        return {_text(key): value for key, value in content.items()}

    def _damaged(self, root: Path, name: str, problem: str) -> ConfigError:
        path = self._folder(root) / name
        return ConfigError("root", f"{path} is not usable: {problem}", f"remove it; then {self.repair(root)}")


def _text(value: bytes | str) -> str:
    """Python 2 wrote its text as what Python 3 reads as bytes."""
    return value.decode("latin1") if isinstance(value, bytes) else value


def _are_images(images: Any) -> TypeGuard[NDArray[np.uint8]]:
    is_array = isinstance(images, np.ndarray) and images.dtype == np.uint8
    return is_array and images.ndim == 2 and images.shape[1] == np.prod(SHAPE)


def _are_labels(labels: Any, count: int, classes: int) -> bool:
    is_list = isinstance(labels, list) and len(labels) == count
    return is_list and all(type(label) is int and 0 <= label < classes for label in labels)


@sources.register("cifar10", KRIZHEVSKY_2009)
class Cifar10(Cifar):
    """60 000 photographs of 32 x 32 pixels in 10 classes, 10 000 of them to test."""

    folder = "cifar-10-batches-py"
    torchvision_class = "CIFAR10"
    train_files = tuple(f"data_batch_{number}" for number in range(1, 6))
    test_files = ("test_batch",)
    names_file = "batches.meta"
    labels_key, names_key, classes = "labels", "label_names", 10
    mean_and_std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


@sources.register("cifar100", KRIZHEVSKY_2009)
class Cifar100(Cifar):
    """60 000 photographs of 32 x 32 pixels in 100 classes, 10 000 of them to test."""

    folder = "cifar-100-python"
    torchvision_class = "CIFAR100"
    train_files = ("train",)
    test_files = ("test",)
    names_file = "meta"
    labels_key, names_key, classes = "fine_labels", "fine_label_names", 100
    mean_and_std = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
