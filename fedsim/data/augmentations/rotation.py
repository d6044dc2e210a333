"""Turned images, for those that have no up and down."""

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.augmentations.base import Augmentation, augmentations, uniform
from fedsim.data.images.pixels import resample
from fedsim.data.transfer import to_device
from fedsim.settings import Schema


@augmentations.register("rotation")
class Rotation(Augmentation):
    """Turned around the middle by a random angle; corners that come from outside the image are black."""

    class Settings(Schema):
        degrees: float = Field(50.0, gt=0, le=180, description="largest angle, either way")

    settings: Settings

    def angles(self, count: int, generator: torch.Generator) -> Tensor:
        """Degrees [n], counter-clockwise."""
        return uniform(-self.settings.degrees, self.settings.degrees, (count,), generator)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return rotate(images, self.angles(len(images), generator))


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """The images [n, C, H, W], each turned counter-clockwise by its angle [n], as torchvision turns one."""
    angles = degrees.deg2rad()
    cos, sin = to_device(torch.stack([angles.cos(), angles.sin()]).float(), images.device)[..., None, None]
    height, width = images.shape[2:]
    right = torch.arange(width, device=images.device) - (width - 1) / 2  # from the middle
    down = (torch.arange(height, device=images.device) - (height - 1) / 2)[:, None]
    return resample(images, (cos * right - sin * down) * (2 / width), (sin * right + cos * down) * (2 / height))
