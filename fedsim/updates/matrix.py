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

from fedsim.updates.gram import block_gram, block_sign_agreement, squared_distances
from fedsim.updates.growing import GrowingTensor
from fedsim.updates.order_statistics import order_statistics, sum_rows
from fedsim.updates.quantiles import absolute_quantiles

BLOCK = 1 << 15
"""Columns of a block: as many as torch needs to use two threads. Shards begin at multiples of it."""

CUDA_BLOCK_VALUES = 1 << 24
"""Values of a block on a GPU: many, so that launches do not dominate, and in float64 no more than 128 MiB."""

BlockMap = Callable[[Tensor], Tensor]


def block_width(num_rows: int, device: torch.device) -> int:
    """How many columns of a matrix with so many rows make a block.

    >>> block_width(8, torch.device("cpu")), block_width(8, torch.device("cuda"))
    (32768, 2097152)
    """
    if device.type != "cuda":
        return BLOCK
    return max(1, CUDA_BLOCK_VALUES // (max(1, num_rows) * BLOCK)) * BLOCK


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
        self._picked = None if index is None else list(index)

    @classmethod
    def of(cls, rows: "Tensor | UpdateMatrix") -> "UpdateMatrix":
        """``rows`` itself if it is an update matrix, else a matrix over the tensor [K, D]."""
        return rows if isinstance(rows, UpdateMatrix) else cls(rows)

    @property
    def num_rows(self) -> int:
        """K."""
        return len(self._rows) if self._picked is None else len(self._picked)

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

    # Views: derived matrices are update matrices themselves, so their modules are imported where they are made --

    def select(self, rows: Sequence[int]) -> "UpdateMatrix":
        """The matrix of these rows, in this order; nothing is copied."""
        if self._picked is not None:
            rows = [self._picked[row] for row in rows]
        if len(rows) > 0 and list(rows) == list(range(rows[0], rows[0] + len(rows))):
            return UpdateMatrix(self._rows[rows[0] : rows[0] + len(rows)])  # neighbours need no gathering
        return UpdateMatrix(self._rows, rows)

    def tensor(self) -> Tensor:
        """The plain tensor [K, D]; a copy where rows were selected."""
        return self._rows if self._index is None else self._rows[self._index]

    def row(self, position: int) -> Tensor:
        """Row ``position`` as a tensor [D]."""
        return self._rows[position if self._picked is None else self._picked[position]]

    def columns(self, ranges: Sequence[tuple[int, int]]) -> "UpdateMatrix":
        """The matrix of the columns [start, stop) of each range, one after another; nothing is copied."""
        from fedsim.updates.sharded import ColumnShards

        pieces = [self._slice(start, stop) for start, stop in ranges]
        return pieces[0] if len(pieces) == 1 else ColumnShards(pieces, aligned=False)

    def _slice(self, start: int, stop: int) -> "UpdateMatrix":
        return UpdateMatrix(self._rows[:, start:stop], self._picked)

    @cached_property
    def _index(self) -> Tensor | None:
        """Which rows of the tensor are selected, where the tensor lies: copied there once, not with every block."""
        return None if self._picked is None else torch.tensor(self._picked, dtype=torch.long, device=self.device)

    def scale(self, factors: Tensor, dtype: torch.dtype | None = None) -> "UpdateMatrix":
        """The matrix of the rows times ``factors`` [K], perhaps in another dtype, computed when read."""
        from fedsim.updates.derived import ScaledRows

        return ScaledRows(self, factors, dtype or self.dtype)

    def mix(self, weights: Tensor) -> "UpdateMatrix":
        """The matrix [M, D] whose rows are weighted sums of these rows, computed block by block when read.

        Args:
            weights: [M, K].
        """
        from fedsim.updates.derived import MixedRows

        return MixedRows(self, weights)

    def extend(self, rows: Tensor) -> "UpdateMatrix":
        """The matrix with further rows [E, D] below its own: a method's starting point, or an attacker's rows.

        What is computed from the rows above stays with them, for the next extension. Equal rows below are best
        given as ``row.expand(E, -1)``: they are then looked at once.
        """
        from fedsim.updates.derived import ExtendedRows

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
        return block_width(self.num_rows, self.device)

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
        collected: list[GrowingTensor] = []
        for block in self.blocks():
            pieces = pick(block)
            collected = collected or [GrowingTensor() for _ in pieces]
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

    def map_order_statistics(self, wanted: range, function: BlockMap) -> Tensor:
        """Column map of order statistics: ``function`` turns the order statistics at these positions [n, b] into [b].

        Position 0 is the smallest of a coordinate's K values.
        """
        return self.map_columns(lambda block: function(torch.stack(order_statistics(block, wanted))))

    def kept_order_statistics(self, wanted: range) -> Tensor:
        """The order statistics [n, D] at these positions; they are kept, with all that were asked for before."""
        held: range | None = vars(self).get("_kept_positions")
        if held is None or wanted.start < held.start or wanted.stop > held.stop:
            held = wanted if held is None else range(min(held.start, wanted.start), max(held.stop, wanted.stop))
            positions = held  # as it is now, for the type checker
            self._kept_statistics = self.map_columns(
                lambda block: torch.stack(order_statistics(block, positions)), len(held)
            )
            self._kept_positions = held
        return self._kept_statistics[wanted.start - held.start : wanted.stop - held.start]

    # Row statistics -----------------------------------------------------------------------------

    def finite_rows(self) -> list[bool]:
        """Which rows hold neither NaN nor infinity."""
        return list(self._finite_rows)

    @cached_property
    def _finite_rows(self) -> list[bool]:
        # A finite sum of squares, which other statistics need anyway, shows it; only float64 rows can overflow it.
        if bool(self._squared_norms.isfinite().all()):
            return [True] * self.num_rows
        bad = self.sum_over_blocks(lambda block: block.shape[1] - block.isfinite().sum(1))
        return [count == 0 for count in bad.tolist()]

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
        """Pairwise squared distances [K, K], float64, on the CPU: symmetric, zero diagonal, never negative."""
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
        weights = weights.double().cpu()
        used = [row for row, weight in enumerate(weights.tolist()) if weight != 0]
        if not used:
            return torch.zeros(self.num_columns, dtype=self.dtype, device=self.device)
        scale = weights[used, None].to(self.device)
        rows = self if len(used) == self.num_rows else self.select(used)
        return rows.map_columns(lambda block: sum_rows(block * scale))
