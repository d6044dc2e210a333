"""Which columns of an update matrix lie here, the blocks in which they are walked, and sums over all of them.

A matrix may be distributed over ranks by columns. Every rank then walks the blocks of its own columns, and what is
summed over blocks is exchanged. The sum of the whole is made in one fixed binary tree over the numbers of the blocks,
so that its bits do not depend on how many ranks there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Protocol

import torch
from torch import Tensor


class Exchange(Protocol):
    """How ranks that hold different columns of one matrix exchange what they computed from them."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def gather(self, values: Tensor) -> list[Tensor]:
        """The tensors [n_r, ...] of all ranks, by rank; only n_r may differ. Every rank calls it alike."""


class Alone:
    """One rank that holds all columns."""

    rank, size = 0, 1

    def gather(self, values: Tensor) -> list[Tensor]:
        return [values]


ALONE = Alone()


@dataclass(frozen=True)
class Columns:
    """Columns of a matrix, cut into blocks at multiples of ``width``, those of each rank one after another.

    Attributes:
        total: D, the columns of all ranks.
        width: of a block, apart from the last one, and those at the ends of a selection.
        bounds: the columns [bounds[r], bounds[r + 1]) are stored on rank r.
        pieces: the blocks [start, stop) of each rank.
        exchange: how the ranks exchange what they computed.

    >>> columns = Columns.cut(10, width=4)
    >>> columns.cuts, columns.pick([(3, 6), (8, 9)]).cuts
    (((0, 4), (4, 8), (8, 10)), ((3, 4), (4, 6), (8, 9)))
    """

    total: int
    width: int
    bounds: tuple[int, ...]
    pieces: tuple[tuple[tuple[int, int], ...], ...]
    exchange: Exchange = ALONE

    @classmethod
    def cut(cls, total: int, width: int, exchange: Exchange = ALONE, multiple: int = 1) -> Columns:
        """All columns, about equally many blocks on each rank; where there are fewer blocks, some ranks have none.

        Args:
            multiple: of ``width``, at whose multiples the columns of a rank begin; left out: the width itself.
        """
        bounds = column_bounds(total, max(multiple, width), exchange.size)
        pieces = tuple(tuple(_pieces(start, stop, width)) for start, stop in pairwise(bounds))
        return cls(total, width, bounds, pieces, exchange)

    @property
    def is_whole(self) -> bool:
        """Whether all columns lie here."""
        return self.exchange.size == 1

    @property
    def start(self) -> int:
        """The first column that is stored here."""
        return self.bounds[self.exchange.rank]

    @cached_property
    def cuts(self) -> tuple[tuple[int, int], ...]:
        """Where the blocks of this rank lie in the rows that it stores."""
        first = self.start
        return tuple((start - first, stop - first) for start, stop in self.pieces[self.exchange.rank])

    @cached_property
    def widths(self) -> list[int]:
        """Columns of each block of this rank."""
        return [stop - start for start, stop in self.cuts]

    @cached_property
    def here(self) -> int:
        """How many columns this rank has."""
        return sum(self.widths)

    @cached_property
    def first_block(self) -> int:
        """The number of the first block of this rank."""
        return sum(map(len, self.pieces[: self.exchange.rank]))

    def merge(self, blocks: int) -> list[tuple[tuple[int, int], int]]:
        """Where the blocks of this rank lie in its rows, so many adjacent ones as one; and of how many each is.

        >>> Columns.cut(10, width=2).merge(2)
        [((0, 4), 2), ((4, 8), 2), ((8, 10), 1)]
        """
        merged: list[tuple[tuple[int, int], int]] = []
        for start, stop in self.cuts:
            (first, last), number = merged[-1] if merged else ((0, -1), 0)
            if last == start and number < blocks:
                merged[-1] = (first, stop), number + 1
            else:
                merged.append(((start, stop), 1))
        return merged

    def split(self, vectors: Tensor) -> Sequence[Tensor]:
        """Vectors [..., here] cut into the blocks of this rank."""
        return vectors.split(self.widths, dim=-1) if self.cuts else ()

    def read(self, stored: Tensor) -> Tensor:
        """These columns [..., here] of what this rank stores; a copy where they are a selection."""
        if stored.shape[-1] == self.here:
            return stored
        return torch.cat([stored[..., :0], *(stored[..., start:stop] for start, stop in self.cuts)], dim=-1)

    def cut_out(self, vector: Tensor) -> Tensor:
        """This rank's part [..., here] of vectors [..., D] of the whole; only of columns that are no selection.

        >>> Columns.cut(3, width=2).cut_out(torch.arange(3))
        tensor([0, 1, 2])
        """
        return vector[..., self.start : self.bounds[self.exchange.rank + 1]]

    def pick(self, ranges: Sequence[tuple[int, int]]) -> Columns:
        """The columns [start, stop) of each range, in rising order; blocks still end where they ended before."""
        assert all(stop <= start for (_, stop), (start, _) in pairwise(ranges)), "ranges overlap, or do not rise"
        assert self.total == self.bounds[-1], "a selection of a selection"
        picked = tuple(
            tuple(piece for start, stop in ranges for piece in _pieces(max(start, low), min(stop, high), self.width))
            for low, high in pairwise(self.bounds)
        )
        return replace(self, total=sum(stop - start for start, stop in ranges), pieces=picked)

    def compact(self) -> Columns:
        """The same blocks, of vectors that hold nothing but these columns."""
        if self.total == self.bounds[-1]:
            return self
        widths = [[stop - start for start, stop in of_rank] for of_rank in self.pieces]
        bounds = tuple(accumulate(map(sum, widths), initial=0))
        pieces = tuple(
            tuple(pairwise(accumulate(of_rank, initial=first)))
            for first, of_rank in zip(bounds[:-1], widths, strict=True)
        )
        return replace(self, bounds=bounds, pieces=pieces)

    # What is computed over the columns of all ranks --------------------------------------------------------------

    def add_up(self, values: Iterable[Tensor], example: Callable[[], Tensor]) -> Tensor:
        """The sum of a value for each block, over all ranks.

        Args:
            values: of the blocks of this rank, in their order.
            example: some value of the same shape and dtype, for a rank that has no block.

        Raises:
            ValueError: there is no block at all.
        """
        tree = SumTree()
        for number, value in enumerate(values, self.first_block):
            tree.add(value, 0, number)
        return self.join(tree, example)

    def join(self, tree: SumTree, example: Callable[[], Tensor]) -> Tensor:
        """The sum over all ranks of which this one has added up its own blocks in ``tree``; see :meth:`add_up`."""
        if self.is_whole:
            return tree.total()
        own = torch.stack(tree.values) if tree.values else example()[None][:0]
        whole, first = SumTree(), 0
        for pieces, nodes in zip(self.pieces, self.exchange.gather(own), strict=True):
            for (level, number), value in zip(aligned_nodes(first, len(pieces)), nodes, strict=True):
                whole.add(value, level, number)
            first += len(pieces)
        return whole.total()

    def concatenate(self, found: Sequence[Tensor]) -> list[Tensor]:
        """Tensors [n] that each rank found in its columns, one after another; as many tensors on each rank."""
        if self.is_whole:
            return list(found)
        lengths = [sizes.tolist() for sizes in self.exchange.gather(torch.tensor([[len(one) for one in found]]))]
        joined: list[list[Tensor]] = [[] for _ in found]
        for dtype in sorted({one.dtype for one in found}, key=str):
            places = [place for place, one in enumerate(found) if one.dtype == dtype]
            together = torch.cat([found[place] for place in places])
            for (sizes,), values in zip(lengths, self.exchange.gather(together), strict=True):
                for place, part in zip(places, values.split([sizes[place] for place in places]), strict=True):
                    joined[place].append(part)
        return [torch.cat(parts) for parts in joined]

    def concatenate_rows(self, rows: Tensor) -> Tensor:
        """Rows [n, here] of this rank as rows [n, D] of the whole, on every rank."""
        if self.is_whole:
            return rows
        return torch.cat(self.exchange.gather(rows.T.contiguous())).T.contiguous()


def column_bounds(total: int, width: int, ranks: int) -> tuple[int, ...]:
    """Where each rank's columns begin, and where the last one's end: multiples of ``width``, apart from the end.

    Rank 0 has columns if there are any.

    >>> column_bounds(total=10, width=4, ranks=2), column_bounds(total=3, width=4, ranks=2)
    ((0, 8, 10), (0, 3, 3))
    """
    blocks = -(-total // width)
    return tuple(min(total, width * -(-blocks * rank // ranks)) for rank in range(ranks + 1))


def _pieces(start: int, stop: int, width: int) -> Iterator[tuple[int, int]]:
    """The range [start, stop) cut at multiples of ``width``."""
    while start < stop:
        end = min(stop, (start // width + 1) * width)
        yield start, end
        start = end


class SumTree:
    """Adds numbered values in a fixed binary tree, whichever rank computed which of its nodes.

    The node (level, number) is the sum of the values number * 2^level up to (number + 1) * 2^level - 1. A node is
    added to its sibling as soon as there is one; what has none is added at the end, the largest node first.

    >>> tree = SumTree()
    >>> for number in range(5):
    ...     tree.add(torch.tensor(float(number)), 0, number)
    >>> tree.values, tree.total()    # 0 + 1 + 2 + 3, and 4
    ([tensor(6.), tensor(4.)], tensor(10.))
    """

    def __init__(self) -> None:
        self._nodes: list[tuple[int, int, Tensor]] = []

    def add(self, value: Tensor, level: int, number: int) -> None:
        """Add the value of a node; nodes come in the order of their numbers."""
        while number % 2 == 1 and self._nodes and self._nodes[-1][:2] == (level, number - 1):
            *_, left = self._nodes.pop()
            value = left + value if level == 0 else left.add_(value)  # a single block's value belongs to its caller
            level, number = level + 1, number // 2
        self._nodes.append((level, number, value))

    @property
    def values(self) -> list[Tensor]:
        """The sums so far that have no sibling yet."""
        return [value for *_, value in self._nodes]

    def total(self) -> Tensor:
        """The sum of all.

        Raises:
            ValueError: there is nothing to add.
        """
        if not self._nodes:
            raise ValueError("an update matrix needs at least one column")
        largest, *rest = self.values
        total = largest.clone()
        for value in rest:
            total += value
        return total


def aligned_nodes(first: int, count: int) -> list[tuple[int, int]]:
    """Level and number of the nodes that a :class:`SumTree` has after ``count`` values from number ``first`` on.

    >>> aligned_nodes(3, 6)    # 3, then 4 to 7, then 8
    [(0, 3), (2, 1), (0, 8)]
    """
    nodes: list[tuple[int, int]] = []
    for leaf in range(first, first + count):
        level, number = 0, leaf
        while number % 2 == 1 and nodes and nodes[-1] == (level, number - 1):
            nodes.pop()
            level, number = level + 1, number // 2
        nodes.append((level, number))
    return nodes
