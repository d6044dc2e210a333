"""The Gram matrix X = G G^T of the rows, and squared distances from it that rounding has not eaten.

d_ab^2 = X_aa + X_bb - 2 X_ab loses its digits only where two rows nearly coincide, compared with their lengths.
Such rows are looked at again as seen from one of them, and what nearly coincides even then, again. Far rows
do not enter, so no attacker can blur the distances of the others, and a round without near rows costs one pass.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

NEAR = 1e-4
"""Rows whose squared distance is below this share of their squared lengths are near; 12 digits are left above it."""

ROWS_AT_ONCE, MOST_ROWS_AT_ONCE = ((20, 4), (64, 12)), 256
"""How many rows of up to 20, of up to 64 and of more are multiplied at once: measured, MKL on an AMD EPYC."""

HELD_VALUES = 1 << 21
"""Values of the form of a block that are held at a time."""

PADDING = 72
"""Columns between rows that are held: at a distance of a power of two, they would compete for lines of the cache."""


class GramRows(Protocol):
    """What distances need of an update matrix [K, D], which satisfies it."""

    @property
    def num_rows(self) -> int: ...

    def gram(self) -> Tensor: ...

    def select(self, rows: Sequence[int]) -> "GramRows": ...

    def sum_over_blocks(self, statistic: Callable[[Tensor], Tensor]) -> Tensor: ...


class RowProducts:
    """Inner products [K, K] of the rows of a block [K, b] in some form; symmetric to the last bit.

    On a CPU the form is written into memory that is held between blocks, and only half of the products are computed:
    the rows are multiplied a few at a time with themselves and all below them.

    Args:
        dtype: in which rows are multiplied.
        write: writes the form of a block into another one; by default the block itself.

    >>> RowProducts(torch.float64)(torch.tensor([[1.0, 2.0], [3.0, -4.0]]))
    tensor([[ 5., -5.],
            [-5., 25.]], dtype=torch.float64)
    """

    def __init__(self, dtype: torch.dtype, write: Callable[[Tensor, Tensor], object] = Tensor.copy_) -> None:
        self._dtype, self._write = dtype, write
        self._held = torch.empty(0)

    def __call__(self, block: Tensor) -> Tensor:
        rows = len(block)
        if block.is_cuda:
            form = self._form(block)
            return form @ form.T
        step = next((step for most, step in ROWS_AT_ONCE if rows <= most), MOST_ROWS_AT_ONCE)
        products = torch.zeros(rows, rows, dtype=self._dtype)
        for piece in block.split(max(1, HELD_VALUES // max(1, rows)), dim=1):
            form = self._form(piece)
            for first in range(0, rows, step):
                products[first:, first : first + step].addmm_(form[first:], form[first : first + step].T)
        return products.tril_().add_(products.tril(-1).T)

    def _form(self, block: Tensor) -> Tensor:
        # The distance between rows depends on nothing but the block: the last bits of a product may depend on it.
        rows, columns = block.shape
        size = rows * (columns + PADDING)
        if len(self._held) < size:
            self._held = torch.empty(size, dtype=self._dtype, device=block.device)
        form = self._held[:size].view(rows, columns + PADDING)[:, :columns]
        self._write(form, block)
        return form


def gram_of_blocks() -> RowProducts:
    """A statistic of blocks: the inner products [K, K] of the rows, in float64."""
    return RowProducts(torch.float64)


def sign_agreement_of_blocks() -> Callable[[Tensor], Tensor]:
    """A statistic of blocks: the inner products [K, K] of the signs of the rows, int64.

    Blocks have at most 2^24 columns, so float32 holds the sums.
    """
    products = RowProducts(torch.float32, _write_signs)
    return lambda block: products(block).long()


def _write_signs(signs: Tensor, block: Tensor) -> None:
    if block.dtype == signs.dtype:
        torch.sign(block, out=signs)
    else:
        signs.copy_(block.sign())


def gram_as_seen_from(updates: GramRows, row: int) -> Tensor:
    """Inner products [K, K] of the rows less row ``row``."""

    def write(centred: Tensor, block: Tensor) -> None:
        centred.copy_(block)
        centred -= centred[row].clone()

    return updates.sum_over_blocks(RowProducts(torch.float64, write))


def squared_distances(updates: GramRows) -> Tensor:
    """Pairwise squared distances [K, K], float64, on the CPU: symmetric, zero diagonal, never negative."""
    return _look_again(updates, updates.gram())


def _look_again(updates: GramRows, gram: Tensor) -> Tensor:
    """Distances by the Gram matrix about any centre; those of near rows by that about one of them."""
    distances, near = subtract(gram.cpu())
    for group in connected(near):
        rows = torch.tensor(group)
        part = updates.select(group)
        distances[rows[:, None], rows] = _look_again(part, gram_as_seen_from(part, 0))
    return distances.fill_diagonal_(0)


def subtract(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances [K, K] as the Gram matrix gives them, and which pairs are near [K, K].

    >>> distances, near = subtract(torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 4.0]]).double())
    >>> distances[0].tolist(), near[0].tolist()
    ([0.0, 0.0, 5.0], [False, True, False])
    """
    squares = gram.diagonal()
    sums = squares[:, None] + squares
    # Float64 rows may be so far apart that squares overflow: they are infinitely far.
    distances = (sums - (gram + gram.T)).clamp_(min=0).nan_to_num_(nan=torch.inf, posinf=torch.inf)
    return distances, (distances < NEAR * sums).fill_diagonal_(False)


def connected(near: Tensor) -> list[list[int]]:
    """The groups of at least two rows that are connected by ``near`` [K, K], each in rising order.

    >>> connected(torch.tensor([[0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0]]).bool())
    [[0, 2, 3]]
    """
    groups = []
    left = near.any(1)
    while bool(left.any()):
        group = torch.zeros_like(left)
        frontier = torch.zeros_like(left)
        frontier[left.nonzero()[0]] = True
        while bool(frontier.any()):
            group |= frontier
            frontier = near[frontier].any(0) & ~group
        groups.append(group.nonzero().flatten().tolist())
        left &= ~group
    return groups


def crowded_row(gram: Tensor) -> int | None:
    """A row that at least half of the rows are near to (itself counted), the one with most of them; None without.

    Args:
        gram: [K, K], best on the CPU.

    >>> crowded_row(torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 4.0]]).double())
    0
    """
    _, near = subtract(gram)
    company = near.sum(1)
    most = int(company.argmax())
    return most if 2 * (int(company[most]) + 1) >= len(gram) and bool(company[most] > 0) else None
