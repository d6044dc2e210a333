"""The crop that ImageNet models are trained with."""

from math import log

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.augmentations.base import Augmentation, augmentations
from fedsim.data.images.pixels import resample
from fedsim.data.transfer import to_device
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

    def pieces(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Top, left, height and width of a piece of each of the images [n, 4], in pixels."""
        area, bent, down, right = torch.rand(count, 4, generator=generator, dtype=torch.float64).T
        share = (self.settings.smallest + (1 - self.settings.smallest) * area).sqrt()
        most = (-share.log()).clamp(max=log(self.settings.stretch) / 2)  # no side becomes longer than the image's
        bend = ((2 * bent - 1) * most).exp()
        piece_height = (share * height / bend).round().clamp(1, height)
        piece_width = (share * width * bend).round().clamp(1, width)
        top = (down * (height - piece_height + 1)).floor().minimum(height - piece_height)
        left = (right * (width - piece_width + 1)).floor().minimum(width - piece_width)
        return torch.stack([top, left, piece_height, piece_width], 1).long()

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, _, height, width = images.shape
        return resize_pieces(images, self.pieces(count, height, width, generator))


def resize_pieces(images: Tensor, pieces: Tensor) -> Tensor:
    """A piece of each of the images [n, C, H, W], scaled to H x W, as torchvision scales one.

    Args:
        pieces: top, left, height and width of each [n, 4], in pixels.
    """
    top, left, piece_height, piece_width = to_device(pieces.T.float(), images.device)
    y = _between_edges(images.shape[2], top, piece_height)[:, :, None]
    x = _between_edges(images.shape[3], left, piece_width)[:, None, :]
    return resample(images, x, y)


def _between_edges(side: int, start: Tensor, length: Tensor) -> Tensor:
    """Where the pixels of a scaled piece come from [n, side], from -1 to 1, along one axis.

    There is nothing to blend with beyond the middle of the piece's last pixel.
    """
    start, length = start[:, None], length[:, None]
    pixel = start + (torch.arange(side, device=start.device) + 0.5) * (length / side) - 0.5
    return (2 * pixel.clamp(start, start + length - 1) + 1) / side - 1
