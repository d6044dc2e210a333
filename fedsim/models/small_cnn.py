"""A small convolutional network for small images."""

from math import prod

from pydantic import Field
from torch import nn

from fedsim.errors import ConfigError
from fedsim.models.base import ModelBuilder, models
from fedsim.settings import Schema

KERNEL = 5
"""Pixels per side of a convolution's kernel."""

SMALLEST = 16
"""Pixels per side that two 5x5 convolutions with pooling reduce to one."""


@models.register("small_cnn")
class SmallCnn(ModelBuilder):
    """Two 5x5 convolutions with pooling, one hidden layer; about 45 000 parameters on 28x28 digits."""

    class Settings(Schema):
        width: int = Field(
            16, ge=1, le=10**4, description="channels of the first convolution; the second has twice as many"
        )
        hidden: int = Field(64, ge=1, le=10**6, description="units of the hidden layer")
        batch_norm: bool = Field(False, description="batch normalisation after each convolution")
        dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the last layer")

    settings: Settings

    def build(self, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        width, channels = self.settings.width, input_shape[0]
        features = nn.Sequential(*self._stage(channels, width), *self._stage(width, 2 * width), nn.Flatten())
        if len(input_shape) != 3 or min(input_shape[1:]) < SMALLEST:
            problem = f"small_cnn needs images of at least {SMALLEST}x{SMALLEST} pixels, not {list(input_shape)}"
            raise ConfigError("name", problem, "set model.name=mlp")
        flat = 2 * width * prod(_pooled(_pooled(side)) for side in input_shape[1:])
        return nn.Sequential(
            features,
            nn.Linear(flat, self.settings.hidden),
            nn.ReLU(),
            nn.Dropout(self.settings.dropout),
            nn.Linear(self.settings.hidden, num_classes),
        )

    def _stage(self, channels_in: int, channels_out: int) -> list[nn.Module]:
        norm = [nn.BatchNorm2d(channels_out)] if self.settings.batch_norm else []
        return [nn.Conv2d(channels_in, channels_out, KERNEL), *norm, nn.ReLU(), nn.MaxPool2d(2)]


def _pooled(side: int) -> int:
    """Pixels per side after a convolution and pooling."""
    return (side - KERNEL + 1) // 2
