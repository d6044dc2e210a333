"""Mirror images."""

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.augmentations.base import Augmentation, augmentations, uniform
from fedsim.data.images.pixels import change_some
from fedsim.settings import Schema


@augmentations.register("flip")
class Flip(Augmentation):
    """Left and right exchanged, top and bottom exchanged, each with its probability."""

    class Settings(Schema):
        horizontal: float = Field(0.5, ge=0, le=1, description="probability that left and right are exchanged")
        vertical: float = Field(0.0, ge=0, le=1, description="probability that top and bottom are exchanged")

    settings: Settings

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        draws = uniform(0, 1, (len(images), 2), generator)
        images = change_some(images, draws[:, 0] < self.settings.horizontal, lambda some: some.flip(-1))
        return change_some(images, draws[:, 1] < self.settings.vertical, lambda some: some.flip(-2))
