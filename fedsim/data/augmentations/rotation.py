"""Turned images, for those that have no up and down."""

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.augmentations.base import Augmentation, augmentations, uniform
from fedsim.settings import Schema


@augmentations.register("rotation")
class Rotation(Augmentation):
    """Turned around the middle by a random angle; corners that come from outside the image are black."""

    class Settings(Schema):
        degrees: float = Field(50.0, gt=0, le=180, description="largest angle, either way")

    settings: Settings

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        from torchvision.transforms.v2 import functional  # over a second, so only where it is used

        angle = uniform(-self.settings.degrees, self.settings.degrees, generator)
        turned: Tensor = functional.rotate(image, angle, interpolation=functional.InterpolationMode.BILINEAR)
        return turned
