"""Small images whose pixels say where they come from."""

import torch
from torch import Tensor

from fedsim.data import Splits, TensorSamples
from fedsim.data.augmentations import Augmentation, augmentations
from fedsim.data.images.image_files import ImagesOfManySizes
from fedsim.data.inputs import View


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 6, channels: int = 3, height: int = 12, width: int = 12) -> TensorSamples:
    images = torch.randint(256, (count, channels, height, width), generator=seeded(0), dtype=torch.uint8)
    return TensorSamples(images, torch.arange(count) % 3)


def splits(samples: TensorSamples | ImagesOfManySizes, shape: tuple[int, ...], one_size: bool = True) -> Splits:
    return Splits(train=samples, test=samples, class_names=("a", "b", "c"), input_shape=shape, one_size=one_size)


def many_sizes(sizes: list[tuple[int, int]]) -> tuple[ImagesOfManySizes, list[Tensor]]:
    images = [torch.randint(256, (3, *size), generator=seeded(i), dtype=torch.uint8) for i, size in enumerate(sizes)]
    pixels = torch.cat([image.flatten() for image in images])
    return ImagesOfManySizes(pixels, torch.tensor(sizes), torch.arange(len(sizes))), images


class Places(Augmentation):
    """Writes a draw into the first pixel of each image."""

    def __init__(self) -> None:
        super().__init__()
        self.draws: list[list[int]] = []

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        draws = torch.randint(256, (len(images),), generator=generator)
        self.draws.append(draws.tolist())
        images = images.clone()
        images[:, 0, 0, 0] = draws
        return images


class Plus(Augmentation):
    """Adds to every pixel."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return images + 1


class Twice(Augmentation):
    """Doubles every pixel."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return images * 2


class MarksTheEdge(Augmentation):
    """Paints the border of what it is given."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        assert images.shape[1:] == (1, 6, 6)
        images = images.clone()
        images[:, :, [0, -1]] = 200
        images[:, :, :, [0, -1]] = 200
        return images


def coordinates(height: int, width: int) -> TensorSamples:
    """One image that says in each pixel where it is."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return TensorSamples(torch.stack([rows, columns])[None].to(torch.uint8), torch.tensor([0]))


def corner(batch: Tensor) -> list[tuple[int, int]]:
    """Top and left of crops of :func:`coordinates`."""
    return [tuple(place) for place in (batch[:, :, 0, 0] * 255).round().int().tolist()]


FULL = View(
    augmentations=[
        augmentations.build("flip"),
        augmentations.build("color_jitter", brightness=0.5),
        augmentations.build("padded_crop"),
    ],
    crop=9,
    resolution=14,
    normalization=([0.4] * 3, [0.3] * 3),
)
