"""The crop of small images that CIFAR is trained with."""

import torch
from pydantic import Field
from torch import Tensor, nn

from fedsim.data.augmentations.base import Augmentation, augmentations
from fedsim.data.images.pixels import cut, random_places
from fedsim.data.transfer import to_device
from fedsim.registry import Reference
from fedsim.settings import Schema


@augmentations.register(
    "padded_crop",
    Reference(
        authors="He, Zhang, Ren and Sun",
        title="Deep Residual Learning for Image Recognition",
        year=2016,
        venue="CVPR",
        url="https://arxiv.org/abs/1512.03385",
    ),
)
class PaddedCrop(Augmentation):
    """The image is padded by black pixels, and a piece of its old size is cut out at a random place."""

    class Settings(Schema):
        padding: int = Field(4, ge=1, description="pixels on each side")

    settings: Settings

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        padding = self.settings.padding
        places = random_places(torch.full((len(images), 2), 2 * padding), generator)
        top, left = to_device(places.T, images.device)
        padded = nn.functional.pad(images, (padding, padding, padding, padding))
        return cut(padded, top, left, *images.shape[2:])
