"""Column maps that can be compiled, and who runs them.

A column map turns the K values of each coordinate into one. As a pure function of its module that gives a coordinate
the same bits whatever stands beside it, it can be fused by a compiler into one pass over the matrix; see
:func:`column_map`. An update matrix carries the runner of its maps: eager, unless the matrix was made with
another one (:mod:`fedsim.updates.compiled_maps`).
"""

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

BlockFunction = Callable[..., Any]
"""Of a block [K, b] and further arguments; it returns values [b] or [n, b], with a tally or without."""


class ColumnMap:
    """A function of a block and further arguments that may be compiled; made by :func:`column_map`."""

    def __init__(self, function: BlockFunction) -> None:
        self.function = function
        update_wrapper(self, function)

    def __call__(self, block: Tensor, *arguments: Any) -> Any:
        """What the function returns for this block."""
        return self.function(block, *arguments)


def column_map(function: BlockFunction) -> ColumnMap:
    """Decorator of a function ``(block, *arguments)`` of a module, which may then be compiled.

    The block has the shape [K, b]; what the function makes of a column must not depend on the columns beside it. It
    changes none of its arguments, and its tally counts in integers: a sum of fractions over columns has other bits
    when it is compiled. Arguments are tensors, which may differ from call to call, and hashable values; for each of
    those the function is compiled again.

    >>> @column_map
    ... def largest(block, factor):
    ...     return block.amax(0) * factor
    >>> from fedsim.updates.matrix import UpdateMatrix
    >>> UpdateMatrix(torch.tensor([[1.0, 5.0], [2.0, 4.0]])).map_columns(largest, torch.tensor(10.0))
    tensor([20., 50.])
    """
    return ColumnMap(function)


class BlockKind(NamedTuple):
    """What the blocks of a matrix have in common.

    Attributes:
        width: columns of a block; those at the ends may be narrower.
        mergeable: whether adjacent blocks may be given to a map as one.
    """

    rows: int
    width: int
    dtype: torch.dtype
    device: torch.device
    mergeable: bool = True


class PreparedMap(NamedTuple):
    """A column map with its arguments.

    Attributes:
        run: what it makes of a block, or of adjacent blocks as one.
        blocks_at_once: how many blocks are to be given to it as one.
    """

    run: Callable[[Tensor], Any]
    blocks_at_once: int = 1


class MapRunner(Protocol):
    """Runs the column maps of a matrix."""

    def prepare(self, function: BlockFunction, arguments: Sequence[Any], kind: BlockKind) -> PreparedMap:
        """The map of a matrix with blocks of this kind."""


class EagerMaps:
    """Calls every function as it is."""

    def prepare(self, function: BlockFunction, arguments: Sequence[Any], kind: BlockKind) -> PreparedMap:
        return PreparedMap(lambda block: function(block, *arguments))


EAGER = EagerMaps()
