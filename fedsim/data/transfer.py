"""From host memory to the device, without waiting for it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; a copy to a GPU is queued behind its other work, and nothing waits for it."""
    if device.type != "cuda" or tensor.device.type == "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def split_on(device: torch.device, parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The parts on the device, by one copy of all of them.

    >>> [part.tolist() for part in split_on(torch.device("cpu"), [torch.tensor([3, 1]), torch.tensor([2])])]
    [[3, 1], [2]]
    """
    return to_device(torch.cat(list(parts)), device).split([len(part) for part in parts]) if parts else ()


def one_ahead(made: Iterable[T]) -> Iterator[T]:
    """Each item when the one after it has been made.

    >>> made = []
    >>> for item in one_ahead(made.append(i) or i for i in range(3)):
    ...     print(item, made)
    0 [0, 1]
    1 [0, 1, 2]
    2 [0, 1, 2]
    """
    waiting: list[T] = []
    for item in made:
        if waiting:
            yield waiting.pop()
        waiting.append(item)
    yield from waiting
