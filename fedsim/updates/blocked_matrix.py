"""A matrix [K, D] that is walked block by block: sums over its blocks, column maps, vectors over its columns.

All else is made of these, and they alone know of other ranks. A block's K x b values stay in cache. The matrix lies
whole in one tensor, or each of several ranks holds some of its columns (see :mod:`fedsim.updates.columns`). Both give
the same bits: blocks lie at the same places, and sums over them are made in the same order.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor

from fedsim.updates.column_maps import BlockFunction, BlockKind, ColumnMap, MapRunner, PreparedMap, column_map
from fedsim.updates.columns import Columns, SumTree
from fedsim.updates.growing import GrowingTensor
from fedsim.updates.heap import in_large_pages
from fedsim.updates.order_statistics import order_statistics

BlockMap = Callable[[Tensor], Tensor]


class BlockedMatrix(ABC):
    """K rows of D coordinates, of which blocks are read.

    Vectors over the columns (a row, the result of a column map, a step) have :attr:`local_columns` coordinates: all
    D, unless the matrix is distributed over ranks.
    """

    _columns: Columns
    _maps: MapRunner

    _blocks_merge = True
    """Whether adjacent blocks have the same bits in one: not if they are computed, in the shape of a block."""

    # What a matrix is ------------------------------------------------------------------------------

    @property
    @abstractmethod
    def num_rows(self) -> int:
        """K."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype: ...

    @property
    @abstractmethod
    def device(self) -> torch.device: ...

    def __len__(self) -> int:
        return self.num_rows

    @abstractmethod
    def _cut(self, cuts: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
        """The blocks [K, b] of the columns [start, stop) of each cut, as they are stored here."""

    @property
    def num_columns(self) -> int:
        """D, over all ranks."""
        return self._columns.total

    @property
    def local_columns(self) -> int:
        """How many of the columns lie here: D, unless the matrix is distributed over ranks."""
        return self._columns.here

    @property
    def first_column(self) -> int:
        """The first column that lies here."""
        return self._columns.start

    @property
    def is_distributed(self) -> bool:
        """Whether other columns lie on other ranks."""
        return not self._columns.is_whole

    @property
    def shape(self) -> tuple[int, int]:
        """(K, D)."""
        return self.num_rows, self.num_columns

    # Walks over the blocks ---------------------------------------------------------------------------

    def blocks(self) -> Iterator[Tensor]:
        """Blocks [K, b] of the columns here, from the first to the last."""
        return self._cut(self._columns.cuts)

    def sum_over_blocks(self, statistic: BlockMap) -> Tensor:
        """Sum of ``statistic(block)`` over all blocks, on every rank; the statistic should be float64 or int64."""
        return self._columns.add_up(map(statistic, self.blocks()), lambda: statistic(self._zero_block()))

    def _zero_block(self) -> Tensor:
        """A block like any other, from which a rank without columns learns the shapes of what others compute."""
        return torch.zeros(self.num_rows, 1, dtype=self.dtype, device=self.device)

    def collect_over_blocks(self, pick: Callable[[Tensor], Sequence[Tensor]]) -> list[Tensor]:
        """The tensors [n] that ``pick(block)`` gives, always equally many: each one concatenated over all blocks."""
        collected: list[GrowingTensor] = []
        for block in self.blocks():
            pieces = pick(block)
            collected = collected or [GrowingTensor() for _ in pieces]
            for growing, piece in zip(collected, pieces, strict=True):
                growing.add(piece)
        if not collected:
            return self._columns.concatenate([piece[:0] for piece in pick(self._zero_block())])
        return self._columns.concatenate([growing.values() for growing in collected])

    def map_columns(self, function: BlockFunction, *arguments: Any, height: int | None = None) -> Tensor:
        """Column map: ``function`` turns each block [K, b] into [b]; the result [local_columns] has the rows' dtype.

        With a ``height`` it is [height, b], and the result [height, local_columns]. The function is called with the
        block and the ``arguments``; made by :func:`column_map` it may be compiled.
        """
        result = self._empty_result(height)
        for piece, _, values in self._mapped(self._prepare(function, arguments), result):
            piece.copy_(values)
        return result

    def map_columns_with_tally(
        self, function: BlockFunction, *arguments: Any, height: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Column map that also counts: the function returns ([b], tally), the tallies are summed over all blocks."""
        prepared = self._prepare(function, arguments)
        result = self._empty_result(height)
        tree, numbers = SumTree(), count(self._columns.first_block)
        for piece, blocks, (values, tally) in self._mapped(prepared, result):
            piece.copy_(values)
            # Added up at once: hundreds of small tensors among the large ones would scatter the heap.
            tree.add(tally, 0, next(numbers))
            for _ in range(1, blocks):  # a tally of integers may stand in the place of the first of its blocks
                tree.add(torch.zeros_like(tally), 0, next(numbers))
        return result, self._columns.join(tree, lambda: prepared.run(self._zero_block())[1])

    def _empty_result(self, height: int | None = None) -> Tensor:
        shape = (self.local_columns,) if height is None else (height, self.local_columns)
        return in_large_pages(torch.empty(shape, dtype=self.dtype, device=self.device))

    def _prepare(self, function: BlockFunction, arguments: Sequence[Any]) -> PreparedMap:
        kind = BlockKind(self.num_rows, self._columns.width, self.dtype, self.device, self._blocks_merge)
        return self._maps.prepare(function, arguments, kind)

    def _mapped(self, prepared: PreparedMap, result: Tensor) -> Iterator[tuple[Tensor, int, Any]]:
        """The pieces of a result [..., local_columns], of how many blocks each is, and what the map makes of them."""
        merged = self._columns.merge(prepared.blocks_at_once)
        blocks = self.blocks() if prepared.blocks_at_once == 1 else self._cut([cut for cut, _ in merged])
        pieces = result.split([stop - start for (start, stop), _ in merged], dim=-1) if merged else ()
        for block, piece, (_, number) in zip(blocks, pieces, merged, strict=True):
            yield piece, number, prepared.run(block)

    def map_order_statistics(self, wanted: range, function: BlockFunction, *arguments: Any) -> Tensor:
        """Column map of order statistics: ``function`` turns those at these positions [n, b] into [b].

        Position 0 is the smallest of a coordinate's K values.
        """
        if isinstance(function, ColumnMap):
            return self.map_columns(_of_order_statistics, wanted, function.function, *arguments)
        return self.map_columns(lambda block: function(torch.stack(order_statistics(block, wanted)), *arguments))

    def kept_order_statistics(self, wanted: range) -> Tensor:
        """The order statistics [n, local_columns] at these positions; they are kept, with all asked for before."""
        held: range | None = vars(self).get("_kept_positions")
        if held is None or wanted.start < held.start or wanted.stop > held.stop:
            held = wanted if held is None else range(min(held.start, wanted.start), max(held.stop, wanted.stop))
            self._kept_statistics = self.map_columns(_stacked_order_statistics, held, height=len(held))
            self._kept_positions = held
        return self._kept_statistics[wanted.start - held.start : wanted.stop - held.start]

    # Vectors over the columns ----------------------------------------------------------------------

    def split(self, vectors: Tensor) -> Sequence[Tensor]:
        """Vectors [..., local_columns] cut into the blocks of the columns here."""
        return self._columns.split(vectors)

    def sum_over(self, vectors: Sequence[Tensor], statistic: Callable[..., Tensor]) -> Tensor:
        """Sum of ``statistic(*pieces)`` over all blocks, the pieces [b] being those of the vectors [local_columns].

        No matrix is made of the vectors, which may have different dtypes.

        >>> from fedsim.updates.matrix import UpdateMatrix
        >>> one, other = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]).double()
        >>> UpdateMatrix(torch.zeros(1, 2)).sum_over([one, other], lambda a, b: (a * b).sum())
        tensor(11., dtype=torch.float64)
        """
        pieces = zip(*map(self.split, vectors), strict=True)
        return self._columns.add_up(
            (statistic(*of_block) for of_block in pieces),
            lambda: statistic(*(torch.zeros(1, dtype=one.dtype, device=one.device) for one in vectors)),
        )

    def length(self, vector: Tensor) -> Tensor:
        """Euclidean length, float64, of a vector [local_columns] over the columns."""
        return self.sum_over([vector], _squared_length).sqrt()


def _squared_length(vector: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vector, dtype=torch.float64).square_()


@column_map
def _of_order_statistics(block: Tensor, wanted: range, function: BlockFunction, *arguments: Any) -> Tensor:
    """What ``function`` makes of the order statistics [n, b] at these positions."""
    return function(torch.stack(order_statistics(block, wanted)), *arguments)


@column_map
def _stacked_order_statistics(block: Tensor, wanted: range) -> Tensor:
    return torch.stack(order_statistics(block, wanted))
