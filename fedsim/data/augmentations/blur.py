"""Other lenses and other focus."""

from typing import Annotated

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from fedsim.data.augmentations.base import Augmentation, augmentations, uniform
from fedsim.errors import ConfigError
from fedsim.registry import Reference
from fedsim.settings import Schema


@augmentations.register(
    "blur",
    Reference(
        authors="Chen, Kornblith, Norouzi and Hinton",
        title="A Simple Framework for Contrastive Learning of Visual Representations",
        year=2020,
        venue="ICML",
        url="https://arxiv.org/abs/2002.05709",
    ),
)
class Blur(Augmentation):
    """With its probability, blurred by a Gaussian of random width; beyond its border the image is mirrored.

    Chen et al. blur with a kernel of a tenth of the image's side and sigma from 0.1 to 2; here the kernel is given
    [ours]. Where an image is too small to be mirrored that far, the kernel is the largest that fits.
    """

    class Settings(Schema):
        probability: float = Field(0.5, ge=0, le=1, description="probability that the image is blurred")
        kernel_size: int = Field(3, ge=3, description="pixels per side of the kernel, an odd number")
        sigma: Annotated[list[PositiveFloat], Field(min_length=2, max_length=2)] = Field(
            [0.1, 1.0], description="smallest and largest standard deviation of the kernel, in pixels"
        )

    settings: Settings

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        if self.settings.kernel_size % 2 == 0:
            raise ConfigError("kernel_size", f"{self.settings.kernel_size} is even", "give an odd number")
        if self.settings.sigma[0] > self.settings.sigma[1]:
            raise ConfigError("sigma", f"{self.settings.sigma} falls", "give the smallest first")

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        from torchvision.transforms.v2 import functional  # over a second, so only where it is used

        if uniform(0, 1, generator) >= self.settings.probability:
            return image
        smallest, largest = self.settings.sigma
        sigma = uniform(smallest, largest, generator)
        height, width = image.shape[1:]
        kernel = [min(self.settings.kernel_size, 2 * side - 1) for side in (width, height)]
        blurred: Tensor = functional.gaussian_blur(image, kernel, [sigma, sigma])
        return blurred
