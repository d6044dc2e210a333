"""The crop that ImageNet models are trained with."""

from math import exp, log, sqrt

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.augmentations.base import Augmentation, augmentations, uniform
from fedsim.registry import Reference
from fedsim.settings import Schema


@augmentations.register(
    "resized_crop",
    Reference(
        authors="Szegedy et al.",
        title="Going Deeper with Convolutions",
        year=2015,
        venue="CVPR",
        url="https://arxiv.org/abs/1409.4842",
    ),
)
class ResizedCrop(Augmentation):
    """A random piece of the image, of a random share of its area, is scaled back to the old size."""

    class Settings(Schema):
        smallest: float = Field(0.08, gt=0, le=1, description="smallest share of the area; the largest is all")
        stretch: float = Field(4 / 3, ge=1, description="largest factor of the aspect ratio, either way")

    settings: Settings

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        from torchvision.transforms.v2 import functional  # over a second, so only where it is used

        height, width = image.shape[1:]
        share = sqrt(uniform(self.settings.smallest, 1, generator))
        most = min(log(self.settings.stretch) / 2, -log(share))  # no side becomes longer than the image's
        bend = exp(uniform(-most, most, generator))
        piece_height = min(height, max(1, round(share * height / bend)))
        piece_width = min(width, max(1, round(share * width * bend)))
        top = int(torch.randint(height - piece_height + 1, (), generator=generator))
        left = int(torch.randint(width - piece_width + 1, (), generator=generator))
        resized: Tensor = functional.resized_crop(
            image, top, left, piece_height, piece_width, size=[height, width], antialias=True
        )
        return resized
