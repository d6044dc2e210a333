"""Operations on batches of images that are bytes, with parameters of its own for each image."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from fedsim.data.transfer import split_on

Interpolation = Literal["bilinear", "bicubic"]
"""How images are scaled; what bicubic shoots beyond black and white is cut off."""


def to_bytes(pixels: Tensor) -> Tensor:
    """Floats from 0 to 255 without their fractions, as bytes."""
    return pixels.to(torch.int16).to(torch.uint8)  # three times as fast on a CPU as without the step in between


def scaled(floats: Tensor, side: int, interpolation: Interpolation, largest: float) -> Tensor:
    """Images [n, C, H, W] with values up to ``largest``, as squares of ``side`` pixels."""
    result = nn.functional.interpolate(floats, size=(side, side), mode=interpolation, antialias=True)
    return result.clamp_(0, largest) if interpolation == "bicubic" else result


def resized(images: Tensor, side: int, interpolation: Interpolation) -> Tensor:
    """Images that are bytes [n, C, H, W], as squares of ``side`` pixels, rounded to the nearest byte."""
    if images.shape[2:] == (side, side):
        return images
    return to_bytes(scaled(images.float(), side, interpolation, largest=255.0).round_())


def random_places(spare: Tensor, generator: torch.Generator) -> Tensor:
    """A place from 0 to ``spare`` for each of its numbers, all alike; on the CPU."""
    draws = torch.rand(spare.shape, generator=generator, dtype=torch.float64)
    return (draws * (spare + 1)).long().minimum(spare)


def cut(images: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """A piece [n, C, height, width] of each of the images [n, C, H, W], from its place [n] on.

    >>> cut(torch.arange(9).view(1, 1, 3, 3), torch.tensor([1]), torch.tensor([0]), 1, 2).tolist()
    [[[[3, 4]]]]
    """
    windows = images.unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(images), device=images.device), :, top, left]


def resample(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Images like ``images`` [n, C, H, W], looked up between their pixels and rounded to bytes; black outside.

    Args:
        x: of each pixel of the result, where it comes from, -1 being the left edge and 1 the right, as [n, H, W] or
            what is broadcast to it.
        y: the same, from top to bottom.
    """
    count, _, height, width = images.shape
    grid = torch.empty(count, height, width, 2, device=images.device)
    grid[..., 0], grid[..., 1] = x, y
    floats = nn.functional.grid_sample(images.float(), grid, align_corners=False)
    return to_bytes(floats.round_())


def change_some(images: Tensor, chosen: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """The images [n, ...], of which ``change`` has changed those that are chosen.

    Args:
        chosen: which [n]; on the CPU, so that nobody waits for the device to learn how many they are.
        change: is given only those that are chosen, in their order.

    >>> change_some(torch.tensor([[1], [2], [3]]), torch.tensor([True, False, True]), lambda some: -some).tolist()
    [[-1], [2], [-3]]
    """
    places, sources = chosen.nonzero().flatten(), torch.arange(len(images))
    if not len(places):
        return images
    sources[places] = len(images) + torch.arange(len(places))
    places, sources = split_on(images.device, [places, sources])
    changed = change(images.index_select(0, places))
    return torch.cat([images, changed]).index_select(0, sources)
