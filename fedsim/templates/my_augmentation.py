"""An augmentation: a random change of training images.

`fedsim --plugin my_augmentation.py "data.augment=[{name: my_augmentation, least: 0.3}]"`
"""

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.augmentations import Augmentation, augmentations, uniform
from fedsim.data.images.pixels import to_bytes
from fedsim.data.transfer import to_device
from fedsim.settings import Schema


@augmentations.register("my_augmentation")
class MyAugmentation(Augmentation):
    """Darker by a random factor."""

    class Settings(Schema):
        least: float = Field(0.5, ge=0, le=1, description="smallest factor; the largest is 1")

    settings: Settings

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        factors = uniform(self.settings.least, 1, (len(images),), generator)  # drawn on the CPU, one for each image
        factors = to_device(factors.float(), images.device).view(-1, 1, 1, 1)
        return to_bytes(images * factors)  # uint8 [n, C, H, W], as it came
