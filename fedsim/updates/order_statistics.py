"""Order statistics over the rows of a block: medians and trimmed ranges, coordinate by coordinate.

Up to ``NETWORK_ROWS`` rows go through a min/max sorting network (Batcher's odd-even merge sort), of
which only the comparators that the wanted order statistics depend on are kept; more rows are sorted on a
transposed block, on a CPU by numpy, whose vectorised sort needs a fifth of the time of torch's.
``torch.median(dim=0)`` does the same work ten times slower on a CPU.
"""

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

NETWORK_ROWS = 100
"""Where a network and numpy's sort take equally long on a CPU."""


@lru_cache(maxsize=256)
def sorting_network(rows: int, wanted: range) -> tuple[tuple[int, int, bool, bool], ...]:
    """Comparators after which line r holds the r-th smallest value, for every r in ``wanted``.

    Each is (i, j, smaller, larger), i < j: whether its smaller value, to line i, is needed, and its larger one, to j.

    >>> sorting_network(3, range(1, 2))
    ((0, 2, True, True), (0, 1, False, True), (1, 2, True, False))
    """
    needed, kept = set(wanted), []
    for low, high in reversed(list(_odd_even_merge_sort(rows))):
        if low in needed or high in needed:
            kept.append((low, high, low in needed, high in needed))
            needed |= {low, high}
    return tuple(reversed(kept))


def _odd_even_merge_sort(rows: int) -> Iterator[tuple[int, int]]:
    """Batcher's network in its iterative form (Knuth, TAOCP 5.2.2, Algorithm M), for any number of rows."""
    top = 1 << max(0, (rows - 1).bit_length() - 1)
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while d > 0:
            for i in range(rows - d):
                if i & p == r:
                    yield i, i + d
            d, q, r = q - p, q >> 1, p
        p >>= 1


def order_statistics(block: Tensor, wanted: range) -> list[Tensor]:
    """The order statistics at these positions (0 = smallest) over the rows of ``block`` [K, b], each [b].

    >>> block = torch.tensor([[3.0, 1.0], [1.0, 5.0], [2.0, 2.0]])
    >>> [values.tolist() for values in order_statistics(block, range(1, 3))]
    [[2.0, 2.0], [3.0, 5.0]]
    """
    rows = block.shape[0]
    if rows > NETWORK_ROWS:
        ordered = _sorted_columns(block)
        return [ordered[:, position] for position in wanted]
    lines = list(block.unbind(0))
    for low, high, smaller, larger in sorting_network(rows, wanted):
        one, other = lines[low], lines[high]
        # Nothing is written in place: so a compiler makes one pass of it, and a CPU without one loses nothing.
        if smaller:
            lines[low] = torch.minimum(one, other)
        if larger:
            lines[high] = torch.maximum(one, other)
    return [lines[position] for position in wanted]


def _sorted_columns(block: Tensor) -> Tensor:
    """The columns of ``block`` [K, b], each sorted, as [b, K]."""
    columns = block.T.contiguous()
    if block.is_cuda or block.dtype not in (torch.float32, torch.float64):
        return columns.sort(dim=1).values
    columns.numpy().sort(axis=1)
    return columns


def lower_median(block: Tensor) -> Tensor:
    """Coordinate-wise median [b] of ``block`` [K, b]; the lower middle value for an even K."""
    middle = (block.shape[0] - 1) // 2
    return order_statistics(block, range(middle, middle + 1))[0]


def sum_rows(block: Tensor) -> Tensor:
    """Sum over the rows of ``block`` [K, b] in row order and float64: the same bits wherever it runs."""
    total = torch.zeros(block.shape[1], dtype=torch.float64, device=block.device)
    for row in block.double().unbind(0):
        total += row
    return total


def count(mask: Tensor, dim: int) -> Tensor:
    """How many ones lie along ``dim`` of a mask [K, b] of zeros and ones in a floating dtype; exact up to 2^24.

    Masks of the rows' dtype, written by in-place comparisons, cost a CPU a fraction of what boolean ones do.
    """
    return weighted_count(mask, torch.ones(mask.shape[dim], device=mask.device), dim)


def weighted_count(signs: Tensor, weights: Tensor, dim: int) -> Tensor:
    """Sums along ``dim`` of ``signs`` [K, b], which are -1, 0 or 1, times ``weights``; exact up to 2^24.

    Args:
        signs: of a floating dtype.
        weights: 0 or 1 in a floating dtype, or integers up to their number. TF32 and bfloat16, which a GPU may use
            for float32, hold integers up to 256; float64 holds larger ones.

    >>> weighted_count(torch.tensor([[1.0], [1.0], [-1.0]]), torch.tensor([3, 0, 1]), dim=0)
    tensor([2.])
    """
    large = not weights.is_floating_point() and len(weights) > 256
    dtype = torch.float64 if large or signs.dtype == torch.float64 else torch.float32
    exact = signs.to(dtype)
    return torch.mv(exact if dim == 1 else exact.T, weights.to(dtype))
