"""Exact quantiles of |row|, by selection: bracket from a sample, count, finish on the few candidates.

On a GPU that has whole rows they are sorted instead: it sorts as fast as it would look for a bracket, and nothing
waits for a count. Where ranks have some columns each, selection lets few values travel.
"""

from collections.abc import Callable, Sequence
from math import floor, sqrt
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fedsim.updates.order_statistics import count

Numbers = npt.NDArray[Any]

ROWS_AT_ONCE = 8
"""Rows that are computed together before each is sorted, where they are those of a derived matrix."""

VALUES_OF_A_WALK = 1 << 19
"""Magnitudes that are looked at together, few enough to stay in cache."""

LARGEST_STRIDE = 1 << 14
"""The stride of the sample, a power of two up to this, divides the block: every rank samples the same columns."""


class BlockedRows(Protocol):
    """What selection needs of an update matrix [K, D], which satisfies it."""

    @property
    def num_rows(self) -> int: ...

    @property
    def num_columns(self) -> int: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def is_distributed(self) -> bool: ...

    def select(self, rows: Sequence[int]) -> "BlockedRows": ...

    def local_rows(self) -> Tensor: ...

    def sum_over_blocks(self, statistic: Callable[[Tensor], Tensor]) -> Tensor: ...

    def collect_over_blocks(self, pick: Callable[[Tensor], Sequence[Tensor]]) -> list[Tensor]: ...


def absolute_quantiles(updates: BlockedRows, share: float) -> Tensor:
    """The ``share``-quantile of |g_k| for each row k, float64 [K].

    Linear interpolation at position share * (D - 1), as ``numpy.quantile`` does; no limit on D.
    The sample decides only how much work is left: a row that its bracket misses is searched whole.
    """
    if updates.device.type == "cuda" and not updates.is_distributed:
        return quantiles_by_sorting(updates, share)
    columns = updates.num_columns
    position = share * (columns - 1)
    low_position = min(floor(position), columns - 1)
    positions = (low_position, min(low_position + 1, columns - 1))
    lower, upper = _bracket(updates, share)
    at_or_below, candidates = _count_and_collect(updates, lower, upper)
    tied = bool((at_or_below > low_position).any())  # some row has many equal magnitudes, zeros mostly
    below = _count_below(updates, torch.from_numpy(lower)).cpu().numpy() if tied else at_or_below
    quantiles = []
    for row in range(updates.num_rows):
        counts = int(below[row]), int(at_or_below[row])
        found = _values_at(positions, counts, float(lower[row]), candidates[row])
        if found is None:
            whole = updates.select([row]).collect_over_blocks(lambda block: [block[0].abs()])[0]
            found = _smallest(_as_numbers(whole), positions).tolist()
        low, high = found
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
        for row in updates.select(rows.tolist()).local_rows():
            magnitudes = row.abs().sort().values
            found.append(torch.stack([magnitudes[at], magnitudes[above]]).double())
    low, high = torch.stack(found).unbind(1)
    return low + (position - at) * (high - low)


def sample_stride(columns: int) -> int:
    """The bracket is taken from every so manieth column: a power of two.

    A sample of about D^(2/3) values costs as much as the candidates that it leaves.

    >>> sample_stride(100), sample_stride(100_000), sample_stride(11_173_962)
    (2, 16, 128)
    """
    stride = 1
    while (3 * stride) ** 3 <= columns and stride < LARGEST_STRIDE:
        stride *= 2
    return stride


def _bracket(updates: BlockedRows, share: float) -> tuple[Numbers, Numbers]:
    """Two values [K] each that should enclose the quantile: those of a regular sample, with a margin."""
    stride, rows = sample_stride(updates.num_columns), updates.num_rows
    found = updates.collect_over_blocks(lambda block: [block[:, ::stride].T.reshape(-1)])[0]
    sample = np.abs(_as_numbers(found).reshape(-1, rows).T)
    size = sample.shape[1]
    margin = 4 * sqrt(size * share * (1 - share)) + 4
    first, last = floor(share * (size - 1) - margin), floor(share * (size - 1) + margin) + 1
    ends = _smallest(sample, [max(first, 0), min(last, size - 1)])
    lower = ends[0] if first >= 0 else np.full_like(ends[0], -1)
    return lower, ends[1] if last < size else np.full_like(ends[1], np.inf)


def _count_and_collect(updates: BlockedRows, lower: Numbers, upper: Numbers) -> tuple[Numbers, list[Numbers]]:
    """Per row how many magnitudes are <= lower [K], and those strictly inside the bracket."""
    find = InsideBracket if updates.device.type == "cpu" else InsideBracketOnGpu
    values, counts = (found.cpu() for found in updates.collect_over_blocks(find(lower, upper)))
    above, inside = counts.view(-1, 2, updates.num_rows).numpy().swapaxes(0, 1)
    # Those of the first block row by row, then those of the next block.
    pieces = np.split(values.numpy(), inside.cumsum()[:-1])
    at_or_below = updates.num_columns - above.sum(0)
    return at_or_below, [np.concatenate(pieces[row :: updates.num_rows]) for row in range(updates.num_rows)]


class InsideBracket:
    """Finds in a block the magnitudes inside the brackets of its rows, in memory that is held between blocks.

    Numpy does it: boolean masks cost it a fraction of what they cost torch.
    """

    def __init__(self, lower: Numbers, upper: Numbers) -> None:
        self._lower, self._upper = lower[:, None], upper[:, None]
        self._magnitudes = np.empty(0, lower.dtype)
        self._masks = np.empty((2, 0), bool)

    def __call__(self, block: Tensor) -> list[Tensor]:
        """The values row by row; then how many values of each row lie above its lower end, and how many inside."""
        values: list[Numbers] = []
        above: list[int] = []
        inside: list[int] = []
        walks = -(-block.numel() // VALUES_OF_A_WALK)
        step = -(-len(block) // walks)
        for start in range(0, len(block), step):
            some = slice(start, start + step)
            found, mask = self._magnitudes_above(_as_numbers(block[some]), self._lower[some])
            above += map(np.count_nonzero, mask)
            mask &= np.less(found, self._upper[some], out=self._masks[1, : mask.size].reshape(mask.shape))
            places = np.flatnonzero(mask)
            values.append(found.reshape(-1)[places])
            ends = np.searchsorted(places, np.arange(len(mask) + 1) * mask.shape[1])
            inside += np.diff(ends).tolist()
        return [torch.from_numpy(np.concatenate(values)), torch.tensor(above + inside)]

    def _magnitudes_above(self, rows: Numbers, lower: Numbers) -> tuple[Numbers, Numbers]:
        if rows.size > len(self._magnitudes):
            self._magnitudes, self._masks = np.empty(rows.size, rows.dtype), np.empty((2, rows.size), bool)
        magnitudes = np.abs(rows, out=self._magnitudes[: rows.size].reshape(rows.shape))
        return magnitudes, np.greater(magnitudes, lower, out=self._masks[0, : rows.size].reshape(rows.shape))


class InsideBracketOnGpu:
    """As :class:`InsideBracket`, with the same results, by torch and where the block lies."""

    def __init__(self, lower: Numbers, upper: Numbers) -> None:
        self._lower, self._upper = torch.from_numpy(lower)[:, None], torch.from_numpy(upper)[:, None]

    def __call__(self, block: Tensor) -> list[Tensor]:
        self._lower, self._upper = self._lower.to(block.device), self._upper.to(block.device)
        magnitudes = _without_bfloat16(block).abs()
        above = magnitudes > self._lower
        inside = above & (magnitudes < self._upper)
        return [magnitudes[inside], torch.cat([above.sum(1), inside.sum(1)])]


def _as_numbers(values: Tensor) -> Numbers:
    """As numpy has them, in the host's memory."""
    return _without_bfloat16(values).cpu().numpy()


def _without_bfloat16(values: Tensor) -> Tensor:
    """Numpy has no bfloat16, whose values float32 holds."""
    return values if values.dtype == torch.float64 else values.float()


def _count_below(updates: BlockedRows, lower: Tensor) -> Tensor:
    """Per row how many magnitudes are < lower [K]."""
    return updates.sum_over_blocks(lambda block: count(block.abs().lt_(lower[:, None].to(block)), dim=1).long())


def _smallest(values: Numbers, positions: Sequence[int]) -> Numbers:
    """The values of these positions (0 = smallest) along the last dimension, which comes first; by selection."""
    return np.moveaxis(np.partition(values, positions, axis=-1)[..., list(positions)], -1, 0)


def _values_at(
    positions: Sequence[int], counts: tuple[int, int], lower: float, inside: Numbers
) -> list[float] | None:
    """The values of these positions, or None where one lies outside the bracket.

    Args:
        counts: how many values are < ``lower``, and how many are <= ``lower``.
        inside: the values inside the bracket.
    """
    below, at_or_below = counts
    among = [position - at_or_below for position in positions]
    if positions[0] < below or among[-1] >= len(inside):
        return None
    if among[-1] < 0:
        return [lower] * len(among)
    found = _smallest(inside, [max(place, 0) for place in among]).tolist()
    return [lower if place < 0 else value for place, value in zip(among, found, strict=True)]


def as_threshold(quantiles: Tensor, dtype: torch.dtype, *, inclusive: bool) -> Tensor:
    """The float64 quantiles rounded so that comparing in ``dtype`` decides as comparing in float64 would."""
    rounded = quantiles.to(dtype)
    if inclusive:
        return torch.where(
            rounded.double() < quantiles, rounded.nextafter(torch.full_like(rounded, torch.inf)), rounded
        )
    return torch.where(rounded.double() > quantiles, rounded.nextafter(torch.full_like(rounded, -torch.inf)), rounded)
