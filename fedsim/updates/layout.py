"""The row: a model's trainable parameters (and, beside it, its float buffers) as flat vectors."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from torch import Tensor


@dataclass(frozen=True)
class RowLayout:
    """Where each named tensor lies in a flat row.

    >>> import torch
    >>> layout = RowLayout.of({"weight": torch.zeros(2, 3), "bias": torch.zeros(2)})
    >>> layout.size, [tuple(view.shape) for view in layout.views(torch.arange(8.0)).values()]
    (8, [(2, 3), (2,)])
    """

    shapes: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "RowLayout":
        return cls({name: tuple(tensor.shape) for name, tensor in tensors.items()})

    @property
    def size(self) -> int:
        """D, the number of coordinates."""
        return sum(prod(shape) for shape in self.shapes.values())

    def views(self, row: Tensor) -> dict[str, Tensor]:
        """Views of ``row`` [D] in the shapes of the named tensors."""
        pieces = row.split([prod(shape) for shape in self.shapes.values()])
        return {name: piece.view(shape) for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)}
