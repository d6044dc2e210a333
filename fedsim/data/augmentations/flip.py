"""Mirror images."""

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.augmentations.base import Augmentation, augmentations, uniform
from fedsim.settings import Schema


@augmentations.register("flip")
class Flip(Augmentation):
    """Left and right exchanged, top and bottom exchanged, each with its probability."""

    class Settings(Schema):
        horizontal: float = Field(0.5, ge=0, le=1, description="probability that left and right are exchanged")
        vertical: float = Field(0.0, ge=0, le=1, description="probability that top and bottom are exchanged")

    settings: Settings

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        probabilities = {-1: self.settings.horizontal, -2: self.settings.vertical}
        axes = [axis for axis, probability in probabilities.items() if uniform(0, 1, generator) < probability]
        return image.flip(axes) if axes else image
