"""Augmentations of one image after another, by torchvision."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional


def rotated(images: Tensor, degrees: Tensor) -> Tensor:
    bilinear = functional.InterpolationMode.BILINEAR
    pairs = zip(images, degrees.tolist(), strict=True)
    return torch.stack([functional.rotate(image, angle, interpolation=bilinear) for image, angle in pairs])


def jittered(images: Tensor, factors: Mapping[str, Tensor]) -> Tensor:
    after = []
    for position, image in enumerate(images):
        for name in ("brightness", "contrast", "saturation", "hue"):
            if name in factors:
                image = getattr(functional, f"adjust_{name}")(image, float(factors[name][position]))
        after.append(image)
    return torch.stack(after)


def blurred(images: Tensor, kernel_size: int, sigmas: Tensor) -> Tensor:
    pairs = zip(images, sigmas.tolist(), strict=True)
    return torch.stack([functional.gaussian_blur(image, [kernel_size] * 2, [sigma] * 2) for image, sigma in pairs])


def resized_pieces(images: Tensor, pieces: Tensor) -> Tensor:
    size = list(images.shape[2:])
    pairs = zip(images, pieces.tolist(), strict=True)
    return torch.stack([functional.resized_crop(image, *piece, size=size, antialias=True) for image, piece in pairs])


def levels_apart(first: Tensor, second: Tensor) -> int:
    """The largest difference of two pixels."""
    return int((first.int() - second.int()).abs().max())


def share_equal(first: Tensor, second: Tensor) -> float:
    """Share of pixels that are alike."""
    return float((first == second).double().mean())
