"""The head of a model, found by what sets it apart: its shape follows the number of classes."""

from collections.abc import Mapping
from typing import TypeAlias

from torch import nn

Head: TypeAlias = Mapping[str, tuple[int | None, ...]]
"""Names of tensors with their shapes, None for what follows the number of classes."""


def head_of(model: nn.Module, larger: nn.Module) -> Head:
    """The head of a model.

    Args:
        larger: the same model, built for more classes.

    >>> head_of(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4)), nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 5)))
    {'1.weight': (None, 3), '1.bias': (None,)}
    """
    own, others = model.state_dict(), larger.state_dict()
    pairs = {name: (own[name].shape, others[name].shape) for name in own if name in others}
    return {
        name: tuple(size if size == other else None for size, other in zip(shape, shape_of_larger, strict=True))
        for name, (shape, shape_of_larger) in pairs.items()
        if shape != shape_of_larger
    }


def fits_head(shape: tuple[int, ...], of_head: tuple[int | None, ...]) -> bool:
    """Whether a shape differs from that of a head in the number of classes at most.

    >>> fits_head((7, 3), (None, 3)), fits_head((7, 2), (None, 3))
    (True, False)
    """
    return len(shape) == len(of_head) and all(own in (None, size) for size, own in zip(shape, of_head, strict=True))
