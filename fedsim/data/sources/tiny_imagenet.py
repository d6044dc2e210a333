"""Tiny ImageNet: 200 of ImageNet's classes at 64 x 64 pixels, as its authors unpack it."""

from collections import Counter
from pathlib import Path

import torch

from fedsim.data.images.class_folders import labelled_files, warn_of_what_is_left_out
from fedsim.data.images.walk import is_hidden
from fedsim.data.sources.base import sources
from fedsim.data.sources.separate_images import FoundImages, SeparateImages
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
class TinyImageNet(SeparateImages):
    """100 000 photographs of 64 x 64 pixels in 200 classes; the 10 000 for validation are tested on.

    The labels of its test images were never published.
    """

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

    def _folder(self, root: Path) -> Path:
        return root if file_exists(root / ANNOTATIONS) else root / FOLDER

    def replace(self, root: Path) -> str:
        return f"remove {self._folder(root)}; then {self.repair(root)}"

    def find(self, root: Path) -> FoundImages:
        """All files; classes are in the order of their WordNet ids."""
        folder = self._folder(root)
        train = labelled_files(folder / "train", self.replace(root))
        warn_of_what_is_left_out(train, folder / "train")
        test = self._annotations(root, train.class_names)
        files = [*train.files, *(folder / "val/images" / name for name in sorted(test))]
        labels = torch.tensor([test[name] for name in sorted(test)], dtype=torch.int64)
        names = self._class_names(root, train.class_names)
        for_test = torch.arange(len(files)) >= len(train.files)
        return FoundImages(files, torch.cat([train.labels, labels]), for_test, names)

    def _annotations(self, root: Path, ids: tuple[str, ...]) -> dict[str, int]:
        """The class of each image to test, by its file's name. Lines: ``val_0.JPEG<tab>n03444034<tab>0<tab>...``."""
        path = self._folder(root) / ANNOTATIONS
        number = {name: label for label, name in enumerate(ids)}
        labels: dict[str, int] = {}
        for line, (name, *rest) in self._lines(root, ANNOTATIONS):
            if not rest or rest[0] not in number or "/" in name:
                problem = f"{path}, line {line}: no name of an image and one of the {len(ids)} classes of train/"
                raise ConfigError("root", problem, self.replace(root))
            labels[name] = number[rest[0]]
        folder = path.parent / "images"
        present = {file.name for file in folder.iterdir() if not is_hidden(file.name)}
        if present - labels.keys():
            problem = f"{path} has no line for {min(present - labels.keys())}"
            raise ConfigError("root", problem, self.replace(root))
        if labels.keys() - present:
            raise ConfigError("root", f"there is no file {folder / min(labels.keys() - present)}", self.replace(root))
        return labels

    def _class_names(self, root: Path, ids: tuple[str, ...]) -> tuple[str, ...]:
        """The first name of each class, with its id where several have it. Lines: ``n01443537<tab>goldfish, ...``."""
        words = {name: rest[0].split(",")[0] for _, (name, *rest) in self._lines(root, WORDS) if rest}
        missing = [name for name in ids if name not in words]
        if missing:
            problem = f"{self._folder(root) / WORDS} has no line for the class {missing[0]}"
            raise ConfigError("root", problem, self.replace(root))
        uses = Counter(words[name] for name in ids)
        return tuple(words[name] if uses[words[name]] == 1 else f"{words[name]} ({name})" for name in ids)

    def _lines(self, root: Path, name: str) -> list[tuple[int, list[str]]]:
        """Number and values of each line that is not empty."""
        path = self._folder(root) / name
        try:
            lines = read_text(path).splitlines()
        except OSError as error:
            raise ConfigError("root", f"cannot read {path}: {error.strerror}", self.replace(root)) from None
        except UnicodeDecodeError:
            raise ConfigError("root", f"{path} is not text", self.replace(root)) from None
        return [(number, line.split("\t")) for number, line in enumerate(lines, 1) if line.strip()]
