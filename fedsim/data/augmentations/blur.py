"""Other lenses and other focus."""

from typing import Annotated

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from fedsim.data.augmentations.base import Augmentation, augmentations
from fedsim.data.images.pixels import change_some, to_bytes
from fedsim.data.transfer import to_device
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

    def sigmas(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Which images are blurred [n], and the standard deviations for those [m]."""
        draws = torch.rand(count, 2, generator=generator, dtype=torch.float64)
        chosen = draws[:, 0] < self.settings.probability
        smallest, largest = self.settings.sigma
        return chosen, smallest + (largest - smallest) * draws[chosen, 1]

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        chosen, sigmas = self.sigmas(len(images), generator)
        return change_some(images, chosen, lambda some: blur(some, self.settings.kernel_size, sigmas))


def blur(images: Tensor, kernel_size: int, sigmas: Tensor) -> Tensor:
    """The images [n, C, H, W], each blurred by its standard deviation [n], as torchvision blurs one."""
    pixels = images.float()
    for axis in (2, 3):
        size = min(kernel_size, 2 * images.shape[axis] - 1)
        pixels = _convolve(pixels, to_device(_kernels(size, sigmas), images.device), axis)
    return to_bytes(pixels.round_())


def _kernels(size: int, sigmas: Tensor) -> Tensor:
    """Weights [n, size] of each image's kernel."""
    offsets = torch.arange(size) - size // 2
    return (-((offsets / sigmas[:, None]) ** 2) / 2).softmax(1).float()


def _convolve(pixels: Tensor, kernels: Tensor, axis: int) -> Tensor:
    """Weighted sums of neighbours along one axis; the image is mirrored in the middle of its last pixel."""
    size, reach = pixels.shape[axis], kernels.shape[1] // 2
    padding = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
    padded = nn.functional.pad(pixels, padding, mode="reflect")
    total = torch.zeros_like(pixels)
    for offset, weights in enumerate(kernels.T):
        total.addcmul_(padded.narrow(axis, offset, size), weights.view(-1, 1, 1, 1))
    return total
