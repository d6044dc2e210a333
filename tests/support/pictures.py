"""Pictures and what augmentations make of them."""

from typing import Any

import torch
from torch import Tensor

from fedsim.data.augmentations import augmentations
from support.randomness import seeded

STRONG = {
    "flip": {"horizontal": 0.5, "vertical": 0.5},
    "color_jitter": {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.3},
}
"""Settings under which everything that an augmentation can do is on."""


def picture(shape: tuple[int, ...] = (3, 32, 32), seed: int = 0) -> Tensor:
    """No two pixels alike, or nearly."""
    return torch.randint(1, 256, shape, generator=seeded(seed), dtype=torch.uint8)


def changed(name: str, image: Tensor, seed: int = 0, **settings: Any) -> Tensor:
    """What becomes of one image."""
    return changed_batch(name, image[None], seed, **settings)[0]


def changed_batch(name: str, images: Tensor, seed: int = 0, **settings: Any) -> Tensor:
    return augmentations.build(name, **(settings or STRONG.get(name, {})))(images, seeded(seed))
