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


class GramRows(Protocol):
    """What distances need of an update matrix [K, D], which satisfies it."""

    @property
    def num_rows(self) -> int: ...

    def gram(self) -> Tensor: ...

    def select(self, rows: Sequence[int]) -> "GramRows": ...

    def sum_over_blocks(self, statistic: Callable[[Tensor], Tensor]) -> Tensor: ...


def block_gram(block: Tensor) -> Tensor:
    """Inner products [K, K] of the rows of ``block`` [K, b], in float64."""
    wide = block.double()
    return wide @ wide.T


def block_sign_agreement(block: Tensor) -> Tensor:
    """Inner products [K, K] of the signs of ``block`` [K, b], int64; b is at most 2^24, so float32 holds them."""
    signs = block.sign().float()
    return (signs @ signs.T).long()


def sums_of_signs(votes: Tensor, signs: Tensor) -> Tensor:
    """The exact sums [b] of ``signs`` [K, b] times integer ``votes`` [K], each at most K.

    TF32 and bfloat16, which a GPU may use for float32, hold integers up to 256; float64 holds the larger ones.

    >>> sums_of_signs(torch.tensor([3, 0, 1]), torch.tensor([[1.0], [1.0], [-1.0]]))
    tensor([2.])
    """
    dtype = signs.dtype if len(signs) <= 256 else torch.float64
    return (votes.to(dtype)[None] @ signs.to(dtype))[0]


def gram_as_seen_from(updates: GramRows, row: int) -> Tensor:
    """Inner products [K, K] of the rows less row ``row``."""

    def products(block: Tensor) -> Tensor:
        wide = block.to(torch.float64, copy=True)
        wide -= wide[row].clone()
        return wide @ wide.T

    return updates.sum_over_blocks(products)


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
