"""Gaussian blobs of any shape, for speed tests and for models that need no real data."""

from math import prod
from pathlib import Path

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from fedsim.data.samples import Splits, TensorSamples
from fedsim.data.sources.base import DataSource, sources
from fedsim.seeds import derive_generator
from fedsim.settings import Schema


@sources.register("synthetic")
class Synthetic(DataSource):
    """One Gaussian blob per class around a random centre; the same data for the same settings."""

    class Settings(Schema):
        num_train: int = Field(1000, ge=1, description="training samples")
        num_test: int = Field(200, ge=1, description="test samples")
        num_classes: int = Field(10, ge=2, description="classes, in turn")
        shape: list[PositiveInt] = Field(
            [1, 28, 28], min_length=1, description="shape of one input: channels, height, width"
        )
        spread: float = Field(1.0, gt=0, description="standard deviation around a class's centre")

    settings: Settings

    def load(self, root: Path | None) -> Splits:
        settings = self.settings
        centres = torch.randn(
            settings.num_classes, prod(settings.shape), generator=derive_generator(0, "synthetic centres")
        )

        def draw(count: int, purpose: str) -> TensorSamples:
            labels: Tensor = torch.arange(count) % settings.num_classes
            noise = torch.randn(count, prod(settings.shape), generator=derive_generator(0, purpose))
            inputs = centres[labels] + settings.spread * noise
            return TensorSamples(inputs.reshape(count, *settings.shape), labels)

        return Splits(
            train=draw(settings.num_train, "synthetic train"),
            test=draw(settings.num_test, "synthetic test"),
            class_names=tuple(map(str, range(settings.num_classes))),
            input_shape=tuple(settings.shape),
        )
