"""What an augmentation is: a random change of an image that keeps its size and its class."""

from abc import abstractmethod

import torch
from torch import Tensor

from fedsim.registry import Component, Registry


class Augmentation(Component):
    """Changes one image at random; a subclass implements :meth:`__call__`.

    The images that it gets are shared: it returns another tensor, or the same untouched.
    """

    @abstractmethod
    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """An image like ``image``, uint8 [C, H, W]; every draw comes from ``generator``."""
        raise NotImplementedError


def uniform(low: float, high: float, generator: torch.Generator) -> float:
    """A number from [low, high).

    >>> 2 <= uniform(2, 3, torch.Generator().manual_seed(0)) < 3
    True
    """
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


augmentations = Registry[Augmentation]("augmentation")
