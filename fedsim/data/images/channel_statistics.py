"""Mean and standard deviation of each channel of images: what they are normalised by."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fedsim.data.samples import Samples
from fedsim.data.storage.cache import cached_arrays

Normalization = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of each channel, of values in [0, 1]."""

AT_ONCE = 64
"""Images that are looked at together."""


@dataclass(frozen=True)
class ChannelStatistics:
    """Mean and standard deviation of each channel, of values in [0, 1], and where they come from.

    >>> print(ChannelStatistics((0.1307,), (0.3081,), "of mnist5k (published)"))
    mean 0.1307 and standard deviation 0.3081 of mnist5k (published)
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: str

    def __str__(self) -> str:
        mean, std = (", ".join(f"{value:.6g}" for value in values) for values in (self.mean, self.std))
        return f"mean {mean} and standard deviation {std} {self.origin}"


def are_images(samples: Samples) -> bool:
    """Whether the samples are images, which are stored as bytes."""
    return samples.pick(torch.tensor([0]))[0].dtype == torch.uint8


def cached_statistics(images: Samples) -> Normalization:
    """What :func:`compute_statistics` gives, computed once for images whose store is in the cache."""
    stored_as: str = getattr(images, "cached_as", "")
    if not stored_as:
        return compute_statistics(images)

    def make(folder: Path) -> None:
        np.save(folder / "mean_and_std.npy", np.array(compute_statistics(images)))

    name = f"{stored_as.split('-')[0]}-statistics-{hashlib.blake2b(stored_as.encode(), digest_size=8).hexdigest()}"
    mean, std = cached_arrays(name, ["mean_and_std"], make)["mean_and_std"].tolist()
    return mean, std


def compute_statistics(images: Samples) -> Normalization:
    """Mean and standard deviation of each channel over all pixels of all images; 1 for a channel without any spread.

    Values are counted and the counts added up as integers, so that the result is the same to the last bit in whatever
    order and on whatever machine the images are looked at.

    >>> from fedsim.data import TensorSamples
    >>> pixels = torch.tensor([0, 255, 0, 255, 51, 51, 51, 51], dtype=torch.uint8)  # two channels of one image
    >>> compute_statistics(TensorSamples(pixels.view(1, 2, 2, 2), torch.tensor([0])))
    ([0.5, 0.2], [0.5, 1.0])
    """
    mean, std = [], []
    for counts in _count_values(images).tolist():
        pixels = sum(counts)
        total = sum(value * count for value, count in enumerate(counts))
        squares = sum(value**2 * count for value, count in enumerate(counts))
        mean.append(total / (255 * pixels))
        std.append(sqrt((pixels * squares - total**2) / (255 * pixels) ** 2) or 1.0)
    return mean, std


def _count_values(images: Samples) -> Tensor:
    """How many pixels of each channel have the value 0, 1, ... 255 [C, 256]."""
    counts = torch.zeros(0, dtype=torch.int64)
    for indices in torch.arange(len(images)).split(AT_ONCE):
        picked = images.pick(indices)
        groups = [picked.transpose(0, 1)] if isinstance(picked, Tensor) else picked
        for group in groups:
            found = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in group])
            counts = counts + found if len(counts) else found
    return counts
