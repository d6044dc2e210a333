"""The update matrix G [K, D]: row k is the update of one client.

Nearly every method is a few row statistics (norms, distances, sign agreement, quantiles) followed by
one weighted sum of rows or one column map. This class offers just these, walked block by block so
that a block's K x b values stay in cache. The matrix lies whole in one tensor (:class:`UpdateMatrix`)
or is cut by columns (:class:`ColumnShards`); both give the same bits for column maps and for integer
statistics, because blocks lie at the same places and reduce in the same order.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial

import torch
from torch import Tensor

from fedsim.column_order import column_ranks, sum_rows
from fedsim.gram import block_gram, block_sign_agreement, squared_distances
from fedsim.row_quantile import absolute_quantiles

BLOCK = 1 << 15
"""Columns of a block: as many as torch needs to use two threads. Shards begin at multiples of it."""

CUDA_BLOCK = BLOCK << 5
"""On a GPU a block is large, so that launches do not dominate."""

BlockMap = Callable[[Tensor], Tensor]


class UpdateMatrix:
    """K rows of D coordinates that must not change while the matrix is in use.

    Args:
        rows: tensor [K, D] of a floating dtype; it is neither copied nor changed.
        index: which rows of the tensor belong to the matrix, in which order (default: all).

    >>> updates = UpdateMatrix(torch.tensor([[1.0, 2.0], [3.0, -4.0]]))
    >>> updates.row_norms()
    tensor([2.2361, 5.0000], dtype=torch.float64)
    >>> updates.mean()
    tensor([ 2., -1.])
    """

    def __init__(self, rows: Tensor, index: Sequence[int] | None = None) -> None:
        if rows.ndim != 2 or not rows.is_floating_point():
            raise ValueError(f"rows must be a floating tensor [K, D], not {rows.dtype} {list(rows.shape)}")
        self._rows = rows
        self._index = None if index is None else torch.tensor(index, dtype=torch.long, device=rows.device)

    @classmethod
    def of(cls, rows: "Tensor | UpdateMatrix") -> "UpdateMatrix":
        """``rows`` itself if it is an update matrix, else a matrix over the tensor [K, D]."""
        return rows if isinstance(rows, UpdateMatrix) else cls(rows)

    @property
    def num_rows(self) -> int:
        """K."""
        return len(self._rows) if self._index is None else len(self._index)

    @property
    def num_columns(self) -> int:
        """D."""
        return self._rows.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        """(K, D)."""
        return self.num_rows, self.num_columns

    @property
    def dtype(self) -> torch.dtype:
        return self._rows.dtype

    @property
    def device(self) -> torch.device:
        return self._rows.device

    def __len__(self) -> int:
        return self.num_rows

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rows={self.num_rows}, columns={self.num_columns}, dtype={self.dtype})"

    # Views -------------------------------------------------------------------------------------

    def select(self, rows: Sequence[int]) -> "UpdateMatrix":
        """The matrix of these rows, in this order; nothing is copied."""
        if self._index is not None:
            rows = [int(self._index[row]) for row in rows]
        if len(rows) > 0 and list(rows) == list(range(rows[0], rows[0] + len(rows))):
            return UpdateMatrix(self._rows[rows[0] : rows[0] + len(rows)])  # neighbours need no gathering
        return UpdateMatrix(self._rows, rows)

    def tensor(self) -> Tensor:
        """The plain tensor [K, D]; a copy where rows were selected."""
        return self._rows if self._index is None else self._rows[self._index]

    def row(self, position: int) -> Tensor:
        """Row ``position`` as a tensor [D]."""
        return self._rows[position if self._index is None else int(self._index[position])]

    def columns(self, ranges: Sequence[tuple[int, int]]) -> "UpdateMatrix":
        """The matrix of the columns [start, stop) of each range, one after another; nothing is copied."""
        pieces = [self._slice(start, stop) for start, stop in ranges]
        return pieces[0] if len(pieces) == 1 else ColumnShards(pieces, aligned=False)

    def _slice(self, start: int, stop: int) -> "UpdateMatrix":
        index = None if self._index is None else self._index.tolist()
        return UpdateMatrix(self._rows[:, start:stop], index)

    def scale(self, factors: Tensor, dtype: torch.dtype | None = None) -> "UpdateMatrix":
        """The matrix of the rows times ``factors`` [K], perhaps in another dtype, worked out when read."""
        return ScaledRows(self, factors, dtype or self.dtype)

    def mix(self, weights: Tensor) -> "UpdateMatrix":
        """The matrix [M, D] whose rows are weighted sums of these rows, worked out block by block when read.

        Args:
            weights: [M, K].
        """
        return MixedRows(self, weights)

    def extend(self, rows: Tensor) -> "UpdateMatrix":
        """The matrix with further rows [E, D] below its own: a method's starting point, or an attacker's rows.

        What is worked out of the rows above stays with them, for the next extension. Equal rows below are best
        given as ``row.expand(E, -1)``: they are then looked at once.
        """
        return ExtendedRows(self, rows)

    # Primitives: all that the transport of a sharded matrix would have to provide ---------------

    def blocks(self) -> Iterator[Tensor]:
        """Blocks [K, b] of the matrix, from the first column to the last."""
        width = self._block_width
        for start in range(0, self.num_columns, width):
            block = self._rows[:, start : start + width]
            yield block if self._index is None else block[self._index]

    @property
    def _block_width(self) -> int:
        return CUDA_BLOCK if self.device.type == "cuda" else BLOCK

    def sum_over_blocks(self, statistic: BlockMap) -> Tensor:
        """Sum of ``statistic(block)`` over all blocks; the statistic should be float64 or int64."""
        total: Tensor | None = None
        for block in self.blocks():
            value = statistic(block)
            total = value.clone() if total is None else total.add_(value)
        if total is None:
            raise ValueError("an update matrix needs at least one column")
        return total

    def collect_over_blocks(self, pick: Callable[[Tensor], Sequence[Tensor]]) -> list[Tensor]:
        """The tensors that ``pick(block)`` gives, always equally many: each one concatenated over the blocks."""
        collected: list[_Growing] = []
        for block in self.blocks():
            pieces = pick(block)
            collected = collected or [_Growing() for _ in pieces]
            for growing, piece in zip(collected, pieces, strict=True):
                growing.add(piece)
        return [growing.values() for growing in collected]

    def map_columns(self, function: BlockMap, height: int | None = None) -> Tensor:
        """Column map: ``function`` turns each block [K, b] into [b]; the result [D] has the rows' dtype.

        With a ``height`` it is [height, b], and the result [height, D].
        """
        shape = (self.num_columns,) if height is None else (height, self.num_columns)
        result = torch.empty(shape, dtype=self.dtype, device=self.device)
        for block, piece in zip(self.blocks(), result.split(self._block_width, dim=-1), strict=True):
            piece.copy_(function(block))
        return result

    def map_columns_with_tally(
        self, function: Callable[[Tensor], tuple[Tensor, Tensor]], height: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Column map that also counts: the function returns ([b], tally), the tallies are summed."""
        total: list[Tensor] = []

        def keep_tally(block: Tensor) -> Tensor:
            values, tally = function(block)
            # Added up at once: hundreds of small tensors among the large ones would scatter the heap.
            total[:] = [total[0] + tally if total else tally]
            return values

        return self.map_columns(keep_tally, height), total[0]

    def map_ranks(self, wanted: range, function: BlockMap) -> Tensor:
        """Column map of order statistics: ``function`` turns the values of these ranks [n, b] into [b].

        Rank 0 is the smallest of a coordinate's K values.
        """
        return self.map_columns(lambda block: function(torch.stack(column_ranks(block, wanted))))

    def sorted_ranks(self, wanted: range) -> Tensor:
        """The values [n, D] of these ranks at each coordinate; they are kept, with all ranks asked for before."""
        held: range | None = vars(self).get("_held_ranks")
        if held is None or wanted.start < held.start or wanted.stop > held.stop:
            held = wanted if held is None else range(min(held.start, wanted.start), max(held.stop, wanted.stop))
            ranks = held  # as it is now, for the type checker
            self._rank_values = self.map_columns(lambda block: torch.stack(column_ranks(block, ranks)), len(held))
            self._held_ranks = held
        return self._rank_values[wanted.start - held.start : wanted.stop - held.start]

    # Row statistics -----------------------------------------------------------------------------

    def finite_rows(self) -> list[bool]:
        """Which rows hold neither NaN nor infinity."""
        # A finite sum of squares, which other statistics need anyway, tells it; only float64 rows can overflow it.
        if bool(self._squared_norms.isfinite().all()):
            return [True] * self.num_rows
        return [count == 0 for count in self._nonfinite_counts.tolist()]

    @cached_property
    def _nonfinite_counts(self) -> Tensor:
        return self.sum_over_blocks(lambda block: block.shape[1] - block.isfinite().sum(1))

    def row_norms(self) -> Tensor:
        """Euclidean norms [K], float64."""
        return self._squared_norms.sqrt()

    @cached_property
    def _squared_norms(self) -> Tensor:
        # One kernel, without the float64 copies that squaring and summing would write.
        norms = partial(torch.linalg.vector_norm, dim=1, dtype=torch.float64)
        return self.sum_over_blocks(lambda block: norms(block).square_())

    def gram(self) -> Tensor:
        """Inner products of each two rows [K, K], float64."""
        return self._gram.clone()

    @cached_property
    def _gram(self) -> Tensor:
        return self.sum_over_blocks(block_gram)

    def squared_distances(self) -> Tensor:
        """Pairwise squared distances [K, K], float64: symmetric, zero diagonal, never negative."""
        return self._squared_distances.clone()

    @cached_property
    def _squared_distances(self) -> Tensor:
        return squared_distances(self)

    def sign_agreement(self) -> Tensor:
        """S [K, K], int64: S_ab = sum over the coordinates of sgn(g_a) * sgn(g_b)."""
        return self._sign_agreement.clone()

    @cached_property
    def _sign_agreement(self) -> Tensor:
        return self.sum_over_blocks(block_sign_agreement)

    def absolute_quantiles(self, share: float) -> Tensor:
        """The ``share``-quantile of each row's magnitudes [K], float64, linear interpolation, exact."""
        if share not in self._absolute_quantiles:
            self._absolute_quantiles[share] = self._find_absolute_quantiles(share)
        return self._absolute_quantiles[share].clone()

    @cached_property
    def _absolute_quantiles(self) -> dict[float, Tensor]:
        return {}

    def _find_absolute_quantiles(self, share: float) -> Tensor:
        return absolute_quantiles(self, share)

    # Sums of rows -------------------------------------------------------------------------------

    def mean(self) -> Tensor:
        """Coordinate-wise mean [D]."""
        return self.map_columns(lambda block: sum_rows(block).div_(len(block)))

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Sum of the rows with weights [K], as [D]; rows of weight zero are not read."""
        used = [row for row, weight in enumerate(weights.tolist()) if weight != 0]
        if not used:
            return torch.zeros(self.num_columns, dtype=self.dtype, device=self.device)
        scale = weights[used].double()[:, None].to(self.device)
        rows = self if len(used) == self.num_rows else self.select(used)
        return rows.map_columns(lambda block: sum_rows(block * scale))


class _Growing:
    """Values [n, ...] that come in pieces. Copied at once: pieces kept one by one would scatter the heap."""

    def __init__(self) -> None:
        self._held: Tensor | None = None
        self._size = 0

    def add(self, piece: Tensor) -> None:
        size = self._size + len(piece)
        if self._held is None or size > len(self._held):
            held = piece.new_empty(max(size, 2 * self._size), *piece.shape[1:])
            if self._held is not None:
                held[: self._size] = self._held[: self._size]
            self._held = held
        self._held[self._size : size] = piece
        self._size = size

    def values(self) -> Tensor:
        assert self._held is not None
        return self._held[: self._size]


class DerivedRows(UpdateMatrix):
    """A matrix that is worked out block by block from another one."""

    def __init__(self, source: UpdateMatrix) -> None:
        self._source = source

    @property
    def num_columns(self) -> int:
        return self._source.num_columns

    @property
    def dtype(self) -> torch.dtype:
        return self._source.dtype

    @property
    def device(self) -> torch.device:
        return self._source.device

    def select(self, rows: Sequence[int]) -> "UpdateMatrix":
        return SelectedRows(self, rows)

    def _unless_overflown(self, gram: Tensor) -> Tensor:
        """The Gram matrix made of the source's; by a pass over the rows where that one overflowed (float64 rows)."""
        return gram if bool(gram.isfinite().all()) else self.sum_over_blocks(block_gram)

    def tensor(self) -> Tensor:
        return torch.cat(list(self.blocks()), dim=1)

    def row(self, position: int) -> Tensor:
        return torch.cat([block[position] for block in self.blocks()])


class SelectedRows(DerivedRows):
    """Some rows of a derived matrix; see :meth:`UpdateMatrix.select`."""

    def __init__(self, source: UpdateMatrix, rows: Sequence[int]) -> None:
        super().__init__(source)
        self._picked = list(rows)

    @property
    def num_rows(self) -> int:
        return len(self._picked)

    def blocks(self) -> Iterator[Tensor]:
        for block in self._source.blocks():
            yield block[self._picked]

    def _slice(self, start: int, stop: int) -> UpdateMatrix:
        return self._source._slice(start, stop).select(self._picked)


class ScaledRows(DerivedRows):
    """Rows of ``source`` times a factor each; see :meth:`UpdateMatrix.scale`."""

    def __init__(self, source: UpdateMatrix, factors: Tensor, dtype: torch.dtype) -> None:
        super().__init__(source)
        self._factors, self._dtype = factors.double().to(source.device), dtype

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    @property
    def num_rows(self) -> int:
        return self._source.num_rows

    def blocks(self) -> Iterator[Tensor]:
        for block in self._source.blocks():
            yield (block * self._factors[:, None]).to(self.dtype)

    def weighted_sum(self, weights: Tensor) -> Tensor:
        if self.dtype != self._source.dtype:
            return super().weighted_sum(weights)
        return self._source.weighted_sum(weights.double().to(self.device) * self._factors)

    def _slice(self, start: int, stop: int) -> UpdateMatrix:
        return ScaledRows(self._source._slice(start, stop), self._factors, self._dtype)

    @cached_property
    def _gram(self) -> Tensor:
        return self._unless_overflown(self._factors[:, None] * self._source.gram() * self._factors)


class MixedRows(DerivedRows):
    """Weighted sums of the rows of ``source``; see :meth:`UpdateMatrix.mix`."""

    def __init__(self, source: UpdateMatrix, weights: Tensor) -> None:
        super().__init__(source)
        self._weights = weights.double().to(source.device)

    @property
    def num_rows(self) -> int:
        return len(self._weights)

    def select(self, rows: Sequence[int]) -> "UpdateMatrix":
        return MixedRows(self._source, self._weights[list(rows)])

    def blocks(self) -> Iterator[Tensor]:
        for block in self._source.blocks():
            yield (self._weights @ block.double()).to(self.dtype)

    def weighted_sum(self, weights: Tensor) -> Tensor:
        return self._source.weighted_sum(weights.double().to(self.device) @ self._weights)

    @cached_property
    def _gram(self) -> Tensor:
        return self._unless_overflown(self._weights @ self._source.gram() @ self._weights.T)

    def _slice(self, start: int, stop: int) -> UpdateMatrix:
        return MixedRows(self._source._slice(start, stop), self._weights)


class ExtendedRows(DerivedRows):
    """The rows of ``source``, then others; see :meth:`UpdateMatrix.extend`."""

    def __init__(self, source: UpdateMatrix, rows: Tensor) -> None:
        super().__init__(source)
        self._all_equal = len(rows) == 1 or rows.stride(0) == 0
        self._distinct = (rows[:1] if self._all_equal else rows).to(source.dtype)
        self._below = self._distinct.expand(len(rows), -1)

    @property
    def num_rows(self) -> int:
        return self._source.num_rows + len(self._below)

    def blocks(self) -> Iterator[Tensor]:
        for above, below in self._pairs(self._below):
            yield torch.cat([above, below])

    def _pairs(self, below: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self._source.blocks(), below.split(self._block_width, dim=1), strict=True)

    def _slice(self, start: int, stop: int) -> UpdateMatrix:
        return ExtendedRows(self._source._slice(start, stop), self._below[:, start:stop])

    def map_ranks(self, wanted: range, function: BlockMap) -> Tensor:
        """As for any matrix; below n sorted values h, B equal ones x make the r-th min(h_r, max(x, h_(r-B)))."""
        if not self._all_equal:
            return super().map_ranks(wanted, function)
        above, equal = self._source.num_rows, len(self._below)
        held = range(max(0, wanted.start - equal), min(above, wanted.stop))
        result = torch.empty(self.num_columns, dtype=self.dtype, device=self.device)
        width = self._block_width
        ordered, row = self._source.sorted_ranks(held).split(width, dim=1), self._distinct[0].split(width)
        for h, x, piece in zip(ordered, row, result.split(width), strict=True):
            merged = x.repeat(len(wanted), 1)
            for value, rank in zip(merged, wanted, strict=True):
                if rank >= equal:
                    torch.maximum(value, h[rank - equal - held.start], out=value)
                if rank < above:
                    torch.minimum(value, h[rank - held.start], out=value)
            piece.copy_(function(merged))
        return result

    def weighted_sum(self, weights: Tensor) -> Tensor:
        above, below = weights.double().to(self.device)[:, None].split([self._source.num_rows, len(self._below)])
        if not bool(below.any()):
            return self._source.weighted_sum(above[:, 0])
        if self._all_equal:
            below = below.sum(0, keepdim=True)
        result = torch.empty(self.num_columns, dtype=self.dtype, device=self.device)
        for (block, others), piece in zip(self._pairs(self._distinct), result.split(self._block_width), strict=True):
            piece.copy_(sum_rows(block * above).add_(sum_rows(others * below)))
        return result

    @cached_property
    def _squared_norms(self) -> Tensor:
        return torch.cat([self._source._squared_norms, self._of_below(UpdateMatrix(self._distinct)._squared_norms)])

    def _find_absolute_quantiles(self, share: float) -> Tensor:
        below = self._of_below(UpdateMatrix(self._distinct).absolute_quantiles(share))
        return torch.cat([self._source.absolute_quantiles(share), below])

    @cached_property
    def _gram(self) -> Tensor:
        return self._border("_gram", torch.float64, torch.float64, lambda block: block)

    @cached_property
    def _sign_agreement(self) -> Tensor:
        return self._border("_sign_agreement", torch.int64, torch.float32, Tensor.sign)

    def _border(self, name: str, dtype: torch.dtype, within: torch.dtype, form: BlockMap) -> Tensor:
        """The products of each two rows [n, n] in some form; those above are taken from there, or left there.

        Args:
            name: of the statistic.
            dtype: of the sums over blocks.
            within: dtype in which a block is multiplied.
        """
        above, size = self._source.num_rows, self._source.num_rows + len(self._distinct)
        corner: Tensor | None = vars(self._source).get(name)
        first = 0 if corner is None else above
        total = torch.zeros(size, size, dtype=dtype, device=self.device)
        held = torch.empty(size, min(self._block_width, self.num_columns), dtype=within, device=self.device)
        for block, others in self._pairs(self._distinct):
            rows = held[:, : block.shape[1]]
            rows[:above] = form(block)
            rows[above:] = form(others)
            total[first:] += (rows[first:] @ rows.T).to(dtype)
        if corner is None:
            vars(self._source)[name] = total[:above, :above].clone()
        else:
            total[:above, :above] = corner
        total[:above, above:] = total[above:, :above].T
        order = [*range(above), *self._of_below(torch.arange(above, size)).tolist()]
        return total[order][:, order]

    def _of_below(self, distinct: Tensor) -> Tensor:
        """What is said of the distinct rows below, for each of them."""
        return distinct.expand(len(self._below)) if self._all_equal else distinct


class ColumnShards(UpdateMatrix):
    """An update matrix cut by columns into several shards, here all in one process.

    Args:
        shards: matrices with the same rows; all but the last have a multiple of ``BLOCK`` columns.
        aligned: whether that is so; a selection of columns need not be, and promises no equal bits.
    """

    def __init__(self, shards: Sequence[UpdateMatrix], *, aligned: bool = True) -> None:
        assert not aligned or all(shard.num_columns % BLOCK == 0 for shard in shards[:-1])
        assert len({shard.num_rows for shard in shards}) == 1
        self._shards = list(shards)

    @classmethod
    def cut(cls, rows: Tensor, shards: int) -> "ColumnShards":
        """Cut ``rows`` [K, D] into shards of about equally many blocks; fewer if there are fewer blocks."""
        blocks = -(-rows.shape[1] // BLOCK)
        shards = min(shards, blocks)
        bounds = [BLOCK * (blocks * shard // shards) for shard in range(1, shards)]
        return cls([UpdateMatrix(piece) for piece in rows.tensor_split(bounds, dim=1)])

    @property
    def num_rows(self) -> int:
        return self._shards[0].num_rows

    @property
    def num_columns(self) -> int:
        return sum(shard.num_columns for shard in self._shards)

    @property
    def dtype(self) -> torch.dtype:
        return self._shards[0].dtype

    @property
    def device(self) -> torch.device:
        return self._shards[0].device

    def select(self, rows: Sequence[int]) -> "ColumnShards":
        return self._each(lambda shard: shard.select(rows))

    def scale(self, factors: Tensor, dtype: torch.dtype | None = None) -> "ColumnShards":
        return self._each(lambda shard: shard.scale(factors, dtype))

    def mix(self, weights: Tensor) -> "ColumnShards":
        return self._each(lambda shard: shard.mix(weights))

    def extend(self, rows: Tensor) -> "ColumnShards":
        pieces = iter(rows.split([shard.num_columns for shard in self._shards], dim=1))
        return self._each(lambda shard: shard.extend(next(pieces)))

    def columns(self, ranges: Sequence[tuple[int, int]]) -> "ColumnShards":
        picked, first = [], 0
        bounds = [(first := first + shard.num_columns) - shard.num_columns for shard in self._shards]
        for start, stop in ranges:
            for shard, offset in zip(self._shards, bounds, strict=True):
                low, high = max(start - offset, 0), min(stop - offset, shard.num_columns)
                if low < high:
                    picked.append(shard.columns([(low, high)]))
        return ColumnShards(picked, aligned=False)

    def _each(self, derive: Callable[[UpdateMatrix], UpdateMatrix]) -> "ColumnShards":
        return ColumnShards([derive(shard) for shard in self._shards], aligned=False)

    def tensor(self) -> Tensor:
        return torch.cat([shard.tensor() for shard in self._shards], dim=1)

    def row(self, position: int) -> Tensor:
        return torch.cat([shard.row(position) for shard in self._shards])

    def blocks(self) -> Iterator[Tensor]:
        raise NotImplementedError("a shard sees only its own blocks")

    def sum_over_blocks(self, statistic: BlockMap) -> Tensor:
        return torch.stack([shard.sum_over_blocks(statistic) for shard in self._shards]).sum(0)

    def collect_over_blocks(self, pick: Callable[[Tensor], Sequence[Tensor]]) -> list[Tensor]:
        parts = [shard.collect_over_blocks(pick) for shard in self._shards]
        return [torch.cat(of_row) for of_row in zip(*parts, strict=True)]

    def map_columns(self, function: BlockMap, height: int | None = None) -> Tensor:
        return torch.cat([shard.map_columns(function, height) for shard in self._shards], dim=-1)

    def weighted_sum(self, weights: Tensor) -> Tensor:
        return torch.cat([shard.weighted_sum(weights) for shard in self._shards])

    @cached_property
    def _squared_norms(self) -> Tensor:
        return torch.stack([shard._squared_norms for shard in self._shards]).sum(0)

    @cached_property
    def _gram(self) -> Tensor:
        return torch.stack([shard._gram for shard in self._shards]).sum(0)

    @cached_property
    def _sign_agreement(self) -> Tensor:
        return torch.stack([shard._sign_agreement for shard in self._shards]).sum(0)

    def map_ranks(self, wanted: range, function: BlockMap) -> Tensor:
        return torch.cat([shard.map_ranks(wanted, function) for shard in self._shards])

    def sorted_ranks(self, wanted: range) -> Tensor:
        return torch.cat([shard.sorted_ranks(wanted) for shard in self._shards], dim=1)

    def map_columns_with_tally(
        self, function: Callable[[Tensor], tuple[Tensor, Tensor]], height: int | None = None
    ) -> tuple[Tensor, Tensor]:
        values, tallies = zip(
            *(shard.map_columns_with_tally(function, height) for shard in self._shards), strict=True
        )
        return torch.cat(values, dim=-1), torch.stack(tallies).sum(0)
