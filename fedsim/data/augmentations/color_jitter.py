"""Other light and other cameras."""

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.augmentations.base import Augmentation, augmentations, uniform
from fedsim.registry import Reference
from fedsim.settings import Schema


@augmentations.register(
    "color_jitter",
    Reference(
        authors="Howard",
        title="Some Improvements on Deep Convolutional Neural Network Based Image Classification",
        year=2013,
        venue="arXiv preprint",
        url="https://arxiv.org/abs/1312.5402",
    ),
)
class ColorJitter(Augmentation):
    """Brightness, contrast and saturation multiplied by random factors, in that order, and the hue turned."""

    class Settings(Schema):
        brightness: float = Field(0.15, ge=0, le=1, description="factor from 1 - this to 1 + this")
        contrast: float = Field(0.1, ge=0, le=1, description="factor from 1 - this to 1 + this")
        saturation: float = Field(0.0, ge=0, le=1, description="factor from 1 - this to 1 + this; colour images only")
        hue: float = Field(0.0, ge=0, le=0.5, description="largest turn, either way, 0.5 being the opposite hue")

    settings: Settings

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        from torchvision.transforms.v2 import functional  # over a second, so only where it is used

        settings = self.settings
        for adjust, middle, reach in (
            (functional.adjust_brightness, 1, settings.brightness),
            (functional.adjust_contrast, 1, settings.contrast),
            (functional.adjust_saturation, 1, settings.saturation),
            (functional.adjust_hue, 0, settings.hue),
        ):
            if reach:
                image = adjust(image, uniform(middle - reach, middle + reach, generator))
        return image
