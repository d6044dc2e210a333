"""Other light and other cameras."""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.augmentations.base import Augmentation, augmentations, uniform
from fedsim.data.images.pixels import to_bytes
from fedsim.data.transfer import to_device
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

    def factors(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """What each property that changes is multiplied by, or the hue turned by [n]; in the order of the changes."""
        middles = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
        reaches = {name: getattr(self.settings, name) for name in middles if getattr(self.settings, name)}
        draws = uniform(-1, 1, (count, len(reaches)), generator).T
        return {name: middles[name] + reaches[name] * draw for name, draw in zip(reaches, draws, strict=True)}

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        factors = self.factors(len(images), generator)
        return jitter(images, factors) if factors else images


def jitter(images: Tensor, factors: Mapping[str, Tensor]) -> Tensor:
    """The images [n, C, H, W], each changed by its factors [n], as torchvision changes one.

    After each change the fractions of the bytes are dropped.
    """
    on_device = to_device(torch.stack(list(factors.values())).float(), images.device)
    pixels = images.float()
    for name, factor in zip(factors, on_device, strict=True):
        pixels = CHANGES[name](pixels, factor.view(-1, 1, 1, 1))
    return to_bytes(pixels)


def _brighten(pixels: Tensor, factor: Tensor) -> Tensor:
    return pixels.mul_(factor).clamp_(max=255).floor_()


def _contrast(pixels: Tensor, factor: Tensor) -> Tensor:
    """Away from the mean grey of the image, or towards it."""
    return _blend(pixels, _grey(pixels).mean((1, 2, 3), keepdim=True), factor)


def _saturate(pixels: Tensor, factor: Tensor) -> Tensor:
    """Away from the grey of each pixel, or towards it."""
    return _blend(pixels, _grey(pixels), factor) if pixels.shape[1] == 3 else pixels


def _blend(pixels: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return pixels.mul_(factor).add_(other * (1 - factor)).clamp_(0, 255).floor_()


def _grey(pixels: Tensor) -> Tensor:
    """Luma [n, 1, H, W] of colours; of other images they themselves."""
    if pixels.shape[1] != 3:
        return pixels
    red, green, blue = pixels.split(1, 1)
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()


def _turn_hue(pixels: Tensor, turn: Tensor) -> Tensor:
    """The colours turned around the axis of greys, in the model of hue, saturation and value."""
    if pixels.shape[1] != 3:
        return pixels
    smallest, largest = pixels.aminmax(dim=1, keepdim=True)
    chroma = largest - smallest
    red, green, blue = (largest - pixels).div_(chroma.clamp(min=1)).split(1, 1)
    is_red, is_green, _ = (pixels == largest).split(1, 1)
    sixth = torch.where(is_red, blue - green, torch.where(is_green, 2 + red - blue, 4 + green - red)) + 6 * turn
    of_channels = 5 - 2 * torch.arange(3, device=pixels.device).view(3, 1, 1)
    distance = (of_channels + sixth).remainder_(6)
    level = distance.minimum(4 - distance).clamp_(0, 1)
    return largest.sub(chroma * level).mul_((256 - 1e-3) / 255).floor_()


CHANGES = {"brightness": _brighten, "contrast": _contrast, "saturation": _saturate, "hue": _turn_hue}
"""What is done to the pixels, floats from 0 to 255 [n, C, H, W], which it may write to."""
