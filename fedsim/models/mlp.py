"""A multi-layer perceptron."""

from itertools import pairwise
from math import prod
from typing import Annotated

from pydantic import Field
from torch import nn

from fedsim.models.base import ModelBuilder, models
from fedsim.settings import Schema

MOST_LAYERS = 1000

Width = Annotated[int, Field(ge=1, le=10**6)]
"""Units of a layer; whether there is memory for so many is asked when their inputs are known."""


@models.register("mlp")
class Mlp(ModelBuilder):
    """Fully connected layers with ReLU over the flattened input."""

    class Settings(Schema):
        hidden: list[Width] = Field([64], max_length=MOST_LAYERS, description="units of each hidden layer")

    settings: Settings

    def build(self, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        sizes = [prod(input_shape), *self.settings.hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for size_in, size_out in pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], num_classes))
