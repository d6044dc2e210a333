"""Statistics of rows that are sums over blocks of columns, and several of them in one walk over the blocks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from fedsim.updates.gram import gram_of_blocks, sign_agreement_of_blocks

RowStatistic = Literal["norms", "gram", "sign_agreement"]

BlockStatistic = Callable[[Tensor], Tensor]

NORMS_AT_ONCE = 16
"""Rows whose norms are computed at once: torch writes them down in float64 first, which should stay in cache."""


def squared_norms(block: Tensor) -> Tensor:
    """Squared lengths [K] of the rows of a block [K, b], float64.

    >>> squared_norms(torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
    tensor([25.,  4.], dtype=torch.float64)
    """
    parts = [block] if block.is_cuda else block.split(NORMS_AT_ONCE)
    return torch.cat([torch.linalg.vector_norm(part, dim=1, dtype=torch.float64) for part in parts]).square_()


def sums(block: Tensor) -> Tensor:
    """Sums [K] of the rows of a block [K, b], as float64: rough, but NaN or infinity in a row shows in its sum."""
    return block.sum(1, dtype=torch.promote_types(block.dtype, torch.float32)).double()


def squared_deviations(block: Tensor) -> Tensor:
    """Sum of the squared differences of the rows of a block [K, b] to their mean, float64.

    >>> squared_deviations(torch.tensor([[1.0, 2.0], [3.0, 2.0]]))
    tensor(2., dtype=torch.float64)
    """
    wide = block.double()
    return (wide - wide.mean(0)).square_().sum()


STATISTICS: Mapping[RowStatistic, Callable[[], BlockStatistic]] = {
    "norms": lambda: squared_norms,
    "gram": gram_of_blocks,
    "sign_agreement": sign_agreement_of_blocks,
}


def in_one_walk(
    names: Sequence[RowStatistic], num_rows: int, sum_over_blocks: Callable[[BlockStatistic], Tensor]
) -> list[Tensor]:
    """The sums over all blocks of these statistics, each with the bits that it has alone.

    A block is still in cache when the second statistic reads it, and ranks that hold different columns exchange
    their sums at once. Counts travel as float64, which holds all integers up to 2^53.
    """
    if len(names) == 1:
        return [sum_over_blocks(STATISTICS[names[0]]())]
    statistics = [STATISTICS[name]() for name in names]
    together = sum_over_blocks(lambda block: torch.cat([of(block).double().flatten() for of in statistics]))
    shapes = [(num_rows,) if name == "norms" else (num_rows, num_rows) for name in names]
    parts = together.split([torch.Size(shape).numel() for shape in shapes])
    dtypes = [torch.int64 if name == "sign_agreement" else torch.float64 for name in names]
    return [part.view(shape).to(dtype) for part, shape, dtype in zip(parts, shapes, dtypes, strict=True)]
