"""A model: any torch.nn.Module from inputs to logits.

`fedsim --plugin my_model.py model.name=my_model model.width=64`
"""

from math import prod

from pydantic import Field
from torch import Tensor, nn

from fedsim.models import ModelBuilder, models
from fedsim.settings import Schema


class Residual(nn.Module):
    """x + a layer of x."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(0.1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layer(x)


@models.register("my_model")
class MyModel(ModelBuilder):
    """Residual layers over the flattened input."""

    class Settings(Schema):
        width: int = Field(32, ge=1, le=10_000, description="units of a layer")
        depth: int = Field(2, ge=0, le=100, description="residual layers")

    settings: Settings

    def build(self, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        width = self.settings.width
        layers = [Residual(width) for _ in range(self.settings.depth)]
        first, last = nn.Linear(prod(input_shape), width), nn.Linear(width, num_classes)
        return nn.Sequential(nn.Flatten(), first, *layers, last)
