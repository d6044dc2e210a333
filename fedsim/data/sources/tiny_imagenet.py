"""Tiny ImageNet: 200 of ImageNet's classes at 64 x 64 pixels, as its authors unpack it."""

from collections import Counter
from pathlib import Path

import torch
from torch import Tensor

from fedsim.data.images.class_folders import LabelledFiles, labelled_files, warn_of_what_is_left_out
from fedsim.data.images.image_files import decode_images
from fedsim.data.images.walk import is_hidden
from fedsim.data.samples import Splits
from fedsim.data.sides import check_sides
from fedsim.data.sources.base import DataSource, Outline, outline, sources
from fedsim.data.storage.fetch import fetch
from fedsim.errors import ConfigError
from fedsim.files import file_exists, folder_exists, read_text
from fedsim.registry import Reference

FOLDER = "tiny-imagenet-200"
URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
ANNOTATIONS, WORDS = "val/val_annotations.txt", "words.txt"


@sources.register(
    "tiny_imagenet",
    Reference(
        authors="Le and Yang",
        title="Tiny ImageNet Visual Recognition Challenge",
        year=2015,
        venue="Report of course CS 231N, Stanford University",
        url="http://vision.stanford.edu/teaching/cs231n/reports/2015/pdfs/yle_project.pdf",
    ),
)
class TinyImageNet(DataSource):
    """100 000 photographs of 64 x 64 pixels in 200 classes; the 10 000 for validation are tested on.

    The labels of its test images were never published.
    """

    reads_root = True

    def check(self, root: Path | None) -> None:
        super().check(root)
        assert root is not None
        folder = self._folder(root)
        for name in ("train", "val/images"):
            if not folder_exists(folder / name):
                raise ConfigError("root", f"there is no folder {folder / name}", self.repair(root))

    def fetch(self, root: Path) -> None:
        from torchvision.datasets.utils import download_and_extract_archive

        fetch(root, FOLDER, lambda place: download_and_extract_archive(URL, place, md5=MD5), self.name)

    def survey(self, root: Path | None) -> Outline | None:
        super().survey(root)
        assert root is not None
        found, for_test = self._files(root)
        check_sides(found.labels[~for_test], found.labels[for_test], found.class_names)
        return outline(found.labels, {}, for_test)

    def load(self, root: Path | None) -> Splits:
        self.check(root)
        assert root is not None
        found, for_test = self._files(root)
        samples, shape, one_size = decode_images(
            found.files, found.labels, {}, name=self.name, short_side=None, repair=self._replace(root)
        )
        return Splits.divided(
            samples,
            for_test,
            class_names=found.class_names,
            input_shape=shape,
            one_size=one_size,
        )

    def _folder(self, root: Path) -> Path:
        return root if file_exists(root / ANNOTATIONS) else root / FOLDER

    def _replace(self, root: Path) -> str:
        return f"remove {self._folder(root)}; then {self.repair(root)}"

    def _files(self, root: Path) -> tuple[LabelledFiles, Tensor]:
        """All files, and which are for testing; classes are in the order of their WordNet ids."""
        folder = self._folder(root)
        train = labelled_files(folder / "train", self._replace(root))
        warn_of_what_is_left_out(train, folder / "train")
        test = self._annotations(root, train.class_names)
        files = [*train.files, *(folder / "val/images" / name for name in sorted(test))]
        labels = torch.tensor([test[name] for name in sorted(test)], dtype=torch.int64)
        names = self._class_names(root, train.class_names)
        for_test = torch.arange(len(files)) >= len(train.files)
        return LabelledFiles(files, torch.cat([train.labels, labels]), names), for_test

    def _annotations(self, root: Path, ids: tuple[str, ...]) -> dict[str, int]:
        """The class of each image to test, by its file's name. Lines: ``val_0.JPEG<tab>n03444034<tab>0<tab>...``."""
        path = self._folder(root) / ANNOTATIONS
        number = {name: label for label, name in enumerate(ids)}
        labels: dict[str, int] = {}
        for line, (name, *rest) in self._lines(root, ANNOTATIONS):
            if not rest or rest[0] not in number or "/" in name:
                problem = f"{path}, line {line}: no name of an image and one of the {len(ids)} classes of train/"
                raise ConfigError("root", problem, self._replace(root))
            labels[name] = number[rest[0]]
        folder = path.parent / "images"
        present = {file.name for file in folder.iterdir() if not is_hidden(file.name)}
        if present - labels.keys():
            problem = f"{path} has no line for {min(present - labels.keys())}"
            raise ConfigError("root", problem, self._replace(root))
        if labels.keys() - present:
            raise ConfigError(
                "root", f"there is no file {folder / min(labels.keys() - present)}", self._replace(root)
            )
        return labels

    def _class_names(self, root: Path, ids: tuple[str, ...]) -> tuple[str, ...]:
        """The first name of each class, with its id where several have it. Lines: ``n01443537<tab>goldfish, ...``."""
        words = {name: rest[0].split(",")[0] for _, (name, *rest) in self._lines(root, WORDS) if rest}
        missing = [name for name in ids if name not in words]
        if missing:
            problem = f"{self._folder(root) / WORDS} has no line for the class {missing[0]}"
            raise ConfigError("root", problem, self._replace(root))
        uses = Counter(words[name] for name in ids)
        return tuple(words[name] if uses[words[name]] == 1 else f"{words[name]} ({name})" for name in ids)

    def _lines(self, root: Path, name: str) -> list[tuple[int, list[str]]]:
        """Number and values of each line that is not empty."""
        path = self._folder(root) / name
        try:
            lines = read_text(path).splitlines()
        except OSError as error:
            raise ConfigError("root", f"cannot read {path}: {error.strerror}", self._replace(root)) from None
        except UnicodeDecodeError:
            raise ConfigError("root", f"{path} is not text", self._replace(root)) from None
        return [(number, line.split("\t")) for number, line in enumerate(lines, 1) if line.strip()]
