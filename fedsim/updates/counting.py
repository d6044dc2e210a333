"""Exact quantiles of |row| by counting alone: what a GPU does, which must not wait for the CPU again and again.

Magnitudes of a floating dtype are ordered as the integers that their bits spell. The value of a position is found by
narrowing an interval of such integers: at most so many magnitudes of the row lie at or below its lower end, more at
or below its upper end. All rows are searched at once and nothing is picked out by its value, so no size depends on
values; the CPU asks once, how wide the widest interval is, and so how many steps are left.
"""

from collections.abc import Callable, Sequence
from math import floor
from typing import Protocol

import torch
from torch import Tensor

PARTS = 8
"""An interval is cut into so many in each step, which reads the rows once."""

INTEGERS = {
    torch.float64: torch.int64,
    torch.float32: torch.int32,
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
}
"""Of the size of each floating dtype."""


class CountedRows(Protocol):
    """What counting needs of an update matrix [K, D], which satisfies it."""

    @property
    def num_rows(self) -> int: ...

    @property
    def num_columns(self) -> int: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def sum_over_blocks(self, statistic: Callable[[Tensor], Tensor]) -> Tensor: ...

    def collect_over_blocks(self, pick: Callable[[Tensor], Sequence[Tensor]]) -> list[Tensor]: ...


def quantiles_by_counting(updates: CountedRows, share: float, lower: Tensor, upper: Tensor) -> Tensor:
    """The ``share``-quantile of |g_k| for each row k, float64 [K], with linear interpolation.

    Args:
        lower, upper: two numbers [K] each, in the rows' dtype, that should enclose the quantile; they decide only
            how many steps are needed.

    >>> from fedsim.updates.matrix import UpdateMatrix
    >>> one = torch.ones(1)
    >>> quantiles_by_counting(UpdateMatrix(torch.tensor([[-3.0, 1.0, 0.0, 2.0]])), 0.5, one, 2 * one)
    tensor([1.5000], dtype=torch.float64)
    """
    position = share * (updates.num_columns - 1)
    at = min(floor(position), updates.num_columns - 1)
    low = _values_at(updates, at, lower, upper)
    counts, above = _count_and_next(updates, low)
    last = at == updates.num_columns - 1
    high = torch.where((counts > at + 1) | last, low, above)
    wide = low.double()
    return wide + (position - at) * (high.double() - wide)


def _values_at(updates: CountedRows, position: int, lower: Tensor, upper: Tensor) -> Tensor:
    """The magnitude of this position (0 = smallest) of each row [K]."""
    low, high = _interval(updates, position, lower, upper)
    width = int((high - low).max())
    while width > 1:
        part = (high - low - 1) // PARTS + 1
        inner = torch.stack([low + part * number for number in range(1, PARTS)]).minimum(high)
        edges = torch.cat([low[None], inner, high[None]])
        below = (_counts(updates, inner) <= position).sum(0, keepdim=True)  # how many of the inner ones are too low
        low, high = edges.gather(0, below)[0], edges.gather(0, below + 1)[0]
        width = (width - 1) // PARTS + 1
    return _magnitudes(high, updates.dtype)


def _interval(updates: CountedRows, position: int, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Integers low < high [K]: at most ``position`` magnitudes are at or below low, more are at or below high."""
    first, second = _bits(lower.clamp(min=0)) - 1, _bits(upper)
    least, most = torch.full_like(first, -1), _bits(torch.full_like(lower, torch.inf))
    first_is_below, second_is_below = (_counts(updates, torch.stack([first, second])) <= position).unbind(0)
    low = torch.where(second_is_below, second, torch.where(first_is_below, first, least))
    high = torch.where(first_is_below, torch.where(second_is_below, most, second), first)
    return low, high


def _counts(updates: CountedRows, bits: Tensor) -> Tensor:
    """How many magnitudes of each row are at or below each of n values [n, K], given as integers; none below 0."""
    values = torch.where(bits < 0, -1.0, _magnitudes(bits.clamp(min=0), updates.dtype))[:, :, None]
    return updates.sum_over_blocks(lambda block: (block.abs() <= values).sum(-1))


def _count_and_next(updates: CountedRows, values: Tensor) -> tuple[Tensor, Tensor]:
    """Per row how many magnitudes are at or below a value [K], and the smallest one above it."""

    def look(block: Tensor) -> list[Tensor]:
        magnitudes = block.abs()
        above = magnitudes > values[:, None]
        return [(~above).sum(1), torch.where(above, magnitudes, torch.inf).amin(1)]

    counts, smallest = updates.collect_over_blocks(look)
    return counts.view(-1, updates.num_rows).sum(0), smallest.view(-1, updates.num_rows).amin(0)


def _bits(magnitudes: Tensor) -> Tensor:
    return magnitudes.view(INTEGERS[magnitudes.dtype]).long()


def _magnitudes(bits: Tensor, dtype: torch.dtype) -> Tensor:
    return bits.to(INTEGERS[dtype]).view(dtype)
