"""Gaussian blobs of any shape, for speed tests and for models that need no real data."""

from collections.abc import Callable
from math import prod
from pathlib import Path

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from fedsim.data.samples import Splits, TensorSamples
from fedsim.data.sources.base import DataSource, sources
from fedsim.machine import require_memory
from fedsim.seeds import derive_generator
from fedsim.settings import Schema

MOST_CLASSES, MOST_DIMENSIONS = 10**5, 8
"""More than any data set has."""

FEW_SAMPLES = 10**7
"""Their labels are there in a fraction of a second."""


@sources.register("synthetic")
class Synthetic(DataSource):
    """One Gaussian blob per class around a random centre; the same data for the same settings."""

    class Settings(Schema):
        num_train: int = Field(1000, ge=1, description="training samples")
        num_test: int = Field(200, ge=1, description="test samples")
        num_classes: int = Field(10, ge=2, le=MOST_CLASSES, description="classes, in turn")
        shape: list[PositiveInt] = Field(
            [1, 28, 28],
            min_length=1,
            max_length=MOST_DIMENSIONS,
            description="shape of one input: channels, height, width",
        )
        spread: float = Field(1.0, gt=0, description="standard deviation around a class's centre")

    settings: Settings

    def check(self, root: Path | None) -> None:
        super().check(root)
        settings = self.settings
        samples = f"{settings.num_train} + {settings.num_test} samples of {settings.shape}"
        # Of what is trained on there are two arrays while it is drawn; a sample also has a label of 8 bytes.
        values = (2 * settings.num_train + settings.num_test + settings.num_classes) * prod(settings.shape)
        needed = 4 * values + 16 * (settings.num_train + settings.num_test)
        require_memory(needed, self._largest, samples, "take fewer or smaller samples")

    @property
    def _largest(self) -> str:
        """The key of the largest number."""
        settings = self.settings
        sizes = {"num_train": settings.num_train, "num_test": settings.num_test, "shape": prod(settings.shape)}
        return max(sizes, key=lambda key: sizes[key])

    def sketch(self, root: Path | None) -> Splits | None:
        if self.settings.num_train + self.settings.num_test > FEW_SAMPLES:
            return None
        return self._splits(lambda labels, purpose: torch.zeros(1).expand(len(labels), *self.settings.shape))

    def load(self, root: Path | None) -> Splits:
        settings = self.settings
        centres = torch.randn(
            settings.num_classes, prod(settings.shape), generator=derive_generator(0, "synthetic centres")
        )

        def draw(labels: Tensor, purpose: str) -> Tensor:
            noise = torch.randn(len(labels), prod(settings.shape), generator=derive_generator(0, purpose))
            return noise.mul_(settings.spread).add_(centres[labels]).reshape(len(labels), *settings.shape)

        return self._splits(draw)

    def _splits(self, inputs_of: Callable[[Tensor, str], Tensor]) -> Splits:
        """Both sides, with inputs [n, ...] from labels [n] and the purpose of their draw."""
        settings = self.settings

        def samples(count: int, purpose: str) -> TensorSamples:
            labels = torch.arange(count) % settings.num_classes
            return TensorSamples(inputs_of(labels, purpose), labels)

        return Splits(
            train=samples(settings.num_train, "synthetic train"),
            test=samples(settings.num_test, "synthetic test"),
            class_names=tuple(map(str, range(settings.num_classes))),
            input_shape=tuple(settings.shape),
        )
