"""Image files in a folder for each class."""

import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from fedsim.data.images.walk import images_below, images_in, in_words, subfolders
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.files import printable
from fedsim.seeds import derive_generator


@dataclass(frozen=True)
class LabelledFiles:
    """Image files in sorted order, and the class of each.

    Attributes:
        left_out: files in the classes' folders by suffix that may be images, but cannot be read.
        of_no_class: images that lie in no class's folder.
    """

    files: list[Path]
    labels: Tensor
    class_names: tuple[str, ...]
    left_out: Counter[str] = field(default_factory=Counter)
    of_no_class: list[Path] = field(default_factory=list)


def labelled_files(folder: Path, repair: str, *, least: int = 2) -> LabelledFiles:
    """The images in the subfolders of ``folder``, which are named after the classes.

    Raises:
        ConfigError: there are fewer than ``least`` classes, or one of them has no image.
    """
    try:
        classes = subfolders(folder)
        found = [images_below(kind) for kind in classes]
        of_no_class = images_in(folder).images
    except OSError as error:
        raise ConfigError("root", f"cannot read {error.filename or folder}: {error.strerror}", repair) from None
    if len(classes) < least:
        raise ConfigError("root", f"{folder} does not hold a folder for each class", repair)
    for kind, members in zip(classes, found, strict=True):
        if not members.images:
            instead = f" that can be read ({in_words(members.left_out)})" if members.left_out else ""
            raise ConfigError("root", f"{kind} holds no image{instead}", repair)
    labels = torch.repeat_interleave(torch.arange(len(classes)), torch.tensor([len(each.images) for each in found]))
    return LabelledFiles(
        [path for members in found for path in members.images],
        labels,
        tuple(printable(path.name) for path in classes),
        sum((members.left_out for members in found), Counter()),
        of_no_class,
    )


def warn_of_what_is_left_out(found: LabelledFiles, folder: Path) -> None:
    """FedsimWarning for files that may be images and cannot be read, and for images that are in no class's folder."""
    if found.left_out:
        count = found.left_out.total()
        text = f"{folder}: {count} file{'s' * (count > 1)} left out that Pillow cannot read"
        remedy = "convert them, for example to PNG, if they are images"
        warnings.warn(f"{text}: {in_words(found.left_out)}; {remedy}", FedsimWarning, stacklevel=3)
    if found.of_no_class:
        count, first = len(found.of_no_class), found.of_no_class[0]
        text = f"{folder}: {count} image{'s' * (count > 1)} left out, for no class's folder holds"
        warnings.warn(f"{text} {'them' if count > 1 else 'it'} ({first})", FedsimWarning, stacklevel=3)


def draw_for_testing(found: LabelledFiles, share: float, seed: int, remedy: str) -> Tensor:
    """Which of the files [N] are :func:`held_out`.

    Raises:
        ConfigError: none, because every class has a single image.
    """
    chosen = held_out(found.labels, share, seed)
    if not chosen.any():
        problem = "every class has a single image, so none can be held out for testing"
        raise ConfigError("root", problem, remedy)
    return chosen


def held_out(labels: Tensor, share: float, seed: int) -> Tensor:
    """Which samples [N] are for testing where the data set does not say: the same share of each class, at random.

    Of each class at least one sample is for testing and one for training, where there are two.

    >>> labels = torch.tensor([0] * 10 + [1] * 5)
    >>> torch.bincount(labels[held_out(labels, share=0.2, seed=0)]).tolist()
    [2, 1]
    """
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    values, counts = labels.unique(return_counts=True)
    groups = labels.argsort(stable=True).split(counts.tolist())
    for label, members in zip(values.tolist(), groups, strict=True):
        order = torch.randperm(len(members), generator=derive_generator(seed, "held out", label))
        count = min(max(1, round(share * len(members))), len(members) - 1)
        chosen[members[order[:count]]] = True
    return chosen
