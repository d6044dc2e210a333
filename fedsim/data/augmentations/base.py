"""What an augmentation is: a random change of images that keeps their size and their class."""

import inspect
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from fedsim.errors import ConfigError
from fedsim.registry import Component, Registry


class Augmentation(Component):
    """Changes each image of a batch at random; a subclass implements :meth:`__call__`.

    The images that it gets are shared: it returns another tensor, or the same untouched. They may lie on a GPU, whose
    work is queued: what asks for a value of theirs (``if``, ``float``, ``tolist``) waits until the queue is empty. So
    draws are made on the CPU (:func:`uniform`), all of a batch at once, and sent by
    :func:`~fedsim.data.transfer.to_device`.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "image" in inspect.signature(cls.__call__).parameters:
            problem = f"{cls.__name__}.__call__ takes one `image`, and augmentations are given whole batches"
            remedy = "take `images` [n, C, H, W], and draw for each of them (CONTRIBUTING.md, An augmentation)"
            raise ConfigError("augmentation", problem, remedy)

    @abstractmethod
    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images like ``images``, uint8 [n, C, H, W]; every draw comes from ``generator``, which is on the CPU.

        Images that differ in size come one by one, as batches of one.
        """
        raise NotImplementedError


def uniform(low: float, high: float, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Numbers from [low, high), float64 on the CPU; rows are drawn one after another.

    >>> draws = uniform(2, 3, (4, 2), torch.Generator().manual_seed(0))
    >>> bool(((draws >= 2) & (draws < 3)).all())
    True
    """
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


augmentations = Registry("augmentation", Augmentation)
