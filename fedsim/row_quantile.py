"""Exact quantiles of |row|, by selection: bracket from a sample, count, finish on the few candidates."""

from collections.abc import Callable, Sequence
from math import floor, sqrt
from typing import Protocol

import torch
from torch import Tensor

SAMPLE = 1 << 14
"""About how many values of a row the bracket is taken from."""


class BlockedRows(Protocol):
    """What selection needs of an update matrix [K, D], which satisfies it."""

    @property
    def num_rows(self) -> int: ...

    @property
    def num_columns(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    def select(self, rows: Sequence[int]) -> "BlockedRows": ...

    def sum_over_blocks(self, statistic: Callable[[Tensor], Tensor]) -> Tensor: ...

    def collect_over_blocks(self, pick: Callable[[Tensor], Sequence[Tensor]]) -> list[Tensor]: ...


def absolute_quantiles(updates: BlockedRows, share: float) -> Tensor:
    """The ``share``-quantile of |g_k| for each row k, float64 [K].

    Linear interpolation at position share * (D - 1), as ``numpy.quantile`` does; no limit on D.
    The sample decides only how much work is left: a row that its bracket misses is sorted whole.
    """
    columns = updates.num_columns
    position = share * (columns - 1)
    low_rank = min(floor(position), columns - 1)
    high_rank = min(low_rank + 1, columns - 1)
    lower, upper = _bracket(updates, share)
    below, candidates = _count_and_collect(updates, lower, upper)
    quantiles = []
    for row in range(updates.num_rows):
        values = candidates[row].sort().values
        low, high = (_rank(rank, below[row], lower[row], values) for rank in (low_rank, high_rank))
        if low is None or high is None:
            whole = updates.select([row]).collect_over_blocks(lambda block: [block[0].abs()])[0].sort().values
            low, high = float(whole[low_rank]), float(whole[high_rank])
        quantiles.append(low + (position - low_rank) * (high - low))
    return torch.tensor(quantiles, dtype=torch.float64, device=updates.device)


def _bracket(updates: BlockedRows, share: float) -> tuple[Tensor, Tensor]:
    """Two values [K] each that should enclose the quantile: those of a regular sample, with a margin."""
    stride = 1
    while updates.num_columns > 2 * stride * SAMPLE and stride < SAMPLE:
        stride *= 2  # a power of two divides the block, so every shard samples the same columns
    sample = torch.stack(updates.collect_over_blocks(lambda block: list(block[:, ::stride].abs().unbind(0))))
    sample = sample.sort(dim=1).values
    size = sample.shape[1]
    margin = 4 * sqrt(size * share * (1 - share)) + 4
    first, last = floor(share * (size - 1) - margin), floor(share * (size - 1) + margin) + 1
    nothing = torch.full_like(sample[:, 0], -1)
    everything = torch.full_like(sample[:, 0], torch.inf)
    return (sample[:, first] if first >= 0 else nothing, sample[:, last] if last < size else everything)


def _count_and_collect(updates: BlockedRows, lower: Tensor, upper: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Per row how many magnitudes are < lower and <= lower [K, 2], and those strictly inside the bracket."""
    lower, upper = lower[:, None], upper[:, None]

    def count(block: Tensor) -> Tensor:
        magnitude = block.abs()
        return torch.stack([(magnitude < lower).sum(1), (magnitude <= lower).sum(1)], dim=1)

    def inside(block: Tensor) -> list[Tensor]:
        magnitude = block.abs()
        chosen = (magnitude > lower) & (magnitude < upper)
        return [row[mask] for row, mask in zip(magnitude, chosen, strict=True)]

    return updates.sum_over_blocks(count), updates.collect_over_blocks(inside)


def _rank(rank: int, counts: Tensor, lower: Tensor, inside: Tensor) -> float | None:
    """The value of this rank, or None where it lies outside the bracket."""
    below, at_or_below = counts.tolist()
    if below <= rank < at_or_below:
        return float(lower)
    if at_or_below <= rank < at_or_below + len(inside):
        return float(inside[rank - at_or_below])
    return None
