"""Image files in a folder for each class."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fedsim.data.image_files import is_image
from fedsim.errors import ConfigError
from fedsim.files import printable
from fedsim.seeds import derive_generator


@dataclass(frozen=True)
class LabelledFiles:
    """Image files in sorted order, and the class of each."""

    files: list[Path]
    labels: Tensor
    class_names: tuple[str, ...]


def labelled_files(folder: Path, repair: str) -> LabelledFiles:
    """The images in the subfolders of ``folder``, which are named after the classes.

    Raises:
        ConfigError: there are fewer than two classes, or one of them has no image.
    """
    try:
        classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        files = [_images_below(kind) for kind in classes]
    except OSError as error:
        raise ConfigError("root", f"cannot read {error.filename or folder}: {error.strerror}", repair) from None
    if len(classes) < 2:
        raise ConfigError("root", f"{folder} does not hold a folder for each class", repair)
    for kind, members in zip(classes, files, strict=True):
        if not members:
            raise ConfigError("root", f"{kind} holds no image", repair)
    labels = torch.repeat_interleave(torch.arange(len(classes)), torch.tensor([len(members) for members in files]))
    return LabelledFiles(
        [path for members in files for path in members], labels, tuple(printable(path.name) for path in classes)
    )


def _images_below(folder: Path) -> list[Path]:
    """Sorted; hidden folders are left out. OSError for a folder that cannot be read."""

    def give_up(error: OSError) -> None:
        raise error

    found: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=give_up):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if is_image(name)]
    return sorted(found)


def held_out(labels: Tensor, share: float, seed: int) -> Tensor:
    """Which samples [N] are for testing where the data set does not say: the same share of each class, at random.

    Of each class at least one sample is for testing and one for training, where there are two.

    >>> labels = torch.tensor([0] * 10 + [1] * 5)
    >>> torch.bincount(labels[held_out(labels, share=0.2, seed=0)]).tolist()
    [2, 1]
    """
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        order = torch.randperm(len(members), generator=derive_generator(seed, "held out", label))
        count = min(max(1, round(share * len(members))), len(members) - 1)
        chosen[members[order[:count]]] = True
    return chosen
