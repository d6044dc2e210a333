"""Exact quantiles of |row|, by selection: bracket from a sample, count, finish on the few candidates.

On a GPU rows are sorted instead: it sorts as fast as it would look for a bracket, and nothing waits for a count.
"""

from collections.abc import Callable, Sequence
from math import floor, sqrt
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from fedsim.updates.order_statistics import count

SAMPLE = 1 << 16
"""About how many values of a row the bracket is taken from."""

ROWS_AT_ONCE = 8
"""Rows that are computed together before each is sorted, where they are those of a derived matrix."""

LARGEST_STRIDE = 1 << 14
"""The stride of the sample, a power of two up to this, divides the block: every shard samples the same columns."""


class BlockedRows(Protocol):
    """What selection needs of an update matrix [K, D], which satisfies it."""

    @property
    def num_rows(self) -> int: ...

    @property
    def num_columns(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    def select(self, rows: Sequence[int]) -> "BlockedRows": ...

    def tensor(self) -> Tensor: ...

    def sum_over_blocks(self, statistic: Callable[[Tensor], Tensor]) -> Tensor: ...

    def collect_over_blocks(self, pick: Callable[[Tensor], Sequence[Tensor]]) -> list[Tensor]: ...


def absolute_quantiles(updates: BlockedRows, share: float) -> Tensor:
    """The ``share``-quantile of |g_k| for each row k, float64 [K].

    Linear interpolation at position share * (D - 1), as ``numpy.quantile`` does; no limit on D.
    The sample decides only how much work is left: a row that its bracket misses is searched whole.
    """
    if updates.device.type == "cuda":
        return quantiles_by_sorting(updates, share)
    columns = updates.num_columns
    position = share * (columns - 1)
    low_position = min(floor(position), columns - 1)
    high_position = min(low_position + 1, columns - 1)
    lower, upper = _bracket(updates, share)
    at_or_below, candidates = _count_and_collect(updates, lower, upper)
    tied = bool((at_or_below > low_position).any())  # some row has many equal magnitudes, zeros mostly
    counts = torch.stack([_count_below(updates, lower) if tied else at_or_below, at_or_below], dim=1)
    quantiles = []
    for row in range(updates.num_rows):
        low, high = (_value_at(at, counts[row], lower[row], candidates[row]) for at in (low_position, high_position))
        if low is None or high is None:
            whole = updates.select([row]).collect_over_blocks(lambda block: [block[0].abs()])[0]
            low, high = (float(_smallest(whole, position)) for position in (low_position, high_position))
        quantiles.append(low + (position - low_position) * (high - low))
    return torch.tensor(quantiles, dtype=torch.float64, device=updates.device)


def quantiles_by_sorting(updates: BlockedRows, share: float) -> Tensor:
    """As :func:`absolute_quantiles`, with the same bits: each row sorted by itself, for the memory of a few rows.

    >>> from fedsim.updates.matrix import UpdateMatrix
    >>> quantiles_by_sorting(UpdateMatrix(torch.tensor([[-3.0, 1.0, 0.0, 2.0]])), 0.5)
    tensor([1.5000], dtype=torch.float64)
    """
    position = share * (updates.num_columns - 1)
    at = min(floor(position), updates.num_columns - 1)
    above = min(at + 1, updates.num_columns - 1)
    found = []
    for rows in torch.arange(updates.num_rows).split(ROWS_AT_ONCE):
        for row in updates.select(rows.tolist()).tensor():
            magnitudes = row.abs().sort().values
            found.append(torch.stack([magnitudes[at], magnitudes[above]]).double())
    low, high = torch.stack(found).unbind(1)
    return low + (position - at) * (high - low)


def _bracket(updates: BlockedRows, share: float) -> tuple[Tensor, Tensor]:
    """Two values [K] each that should enclose the quantile: those of a regular sample, with a margin."""
    stride = 1
    while updates.num_columns > 2 * stride * SAMPLE and stride < LARGEST_STRIDE:
        stride *= 2
    sample = torch.stack(updates.collect_over_blocks(lambda block: list(block[:, ::stride].abs().unbind(0))))
    size = sample.shape[1]
    margin = 4 * sqrt(size * share * (1 - share)) + 4
    first, last = floor(share * (size - 1) - margin), floor(share * (size - 1) + margin) + 1
    lower = _smallest(sample, first) if first >= 0 else torch.full((updates.num_rows,), -1.0)
    upper = _smallest(sample, last) if last < size else torch.full((updates.num_rows,), torch.inf)
    return lower.to(sample), upper.to(sample)


def _count_and_collect(updates: BlockedRows, lower: Tensor, upper: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Per row how many magnitudes are <= lower [K], and those strictly inside the bracket."""
    lows, highs = lower.tolist(), upper.tolist()

    def inside_and_above(block: Tensor) -> list[Tensor]:
        found = [_between(row, low, high) for row, low, high in zip(block.abs(), lows, highs, strict=True)]
        return [*(values for values, _ in found), torch.tensor([above for _, above in found])]

    *candidates, above = updates.collect_over_blocks(inside_and_above)
    at_or_below = updates.num_columns - above.view(-1, updates.num_rows).sum(0)
    return at_or_below.to(updates.device), candidates


def _between(values: Tensor, low: float, high: float) -> tuple[Tensor, int]:
    """The ``values`` [n] strictly between, and how many lie above ``low``.

    Numpy does it: boolean masks cost it a fraction of what they cost torch.
    """
    if values.dtype not in (torch.float32, torch.float64):
        above = values > low
        return values[above & (values < high)], int(above.sum())
    numbers = values.numpy()
    mask = numbers > low
    count_above = int(np.count_nonzero(mask))
    mask &= numbers < high
    return torch.from_numpy(numbers[mask]), count_above


def _count_below(updates: BlockedRows, lower: Tensor) -> Tensor:
    """Per row how many magnitudes are < lower [K]."""
    return updates.sum_over_blocks(lambda block: count(block.abs().lt_(lower[:, None]), dim=1))


def _smallest(values: Tensor, position: int) -> Tensor:
    """The value of this position (0 = smallest) along the last dimension, by a linear-time selection."""
    return values.kthvalue(position + 1).values


def _value_at(position: int, counts: Tensor, lower: Tensor, inside: Tensor) -> float | None:
    """The value of this position, or None where it lies outside the bracket."""
    below, at_or_below = counts.tolist()
    if below <= position < at_or_below:
        return float(lower)
    if at_or_below <= position < at_or_below + len(inside):
        return float(_smallest(inside, position - at_or_below))
    return None


def as_threshold(quantiles: Tensor, dtype: torch.dtype, *, inclusive: bool) -> Tensor:
    """The float64 quantiles rounded so that comparing in ``dtype`` decides as comparing in float64 would."""
    rounded = quantiles.to(dtype)
    if inclusive:
        return torch.where(
            rounded.double() < quantiles, rounded.nextafter(torch.full_like(rounded, torch.inf)), rounded
        )
    return torch.where(rounded.double() > quantiles, rounded.nextafter(torch.full_like(rounded, -torch.inf)), rounded)
