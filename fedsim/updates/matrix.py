"""The update matrix G [K, D]: row k is the update of one client.

Nearly every method is a few row statistics (norms, distances, sign agreement, quantiles) followed by one weighted sum
of rows or one column map. This class offers just these.
"""

import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from fedsim.errors import FedsimWarning
from fedsim.updates.as_rows import RowsLike, as_rows
from fedsim.updates.blocked_matrix import BlockedMatrix
from fedsim.updates.column_maps import EAGER, MapRunner, column_map
from fedsim.updates.columns import ALONE, Columns, Exchange
from fedsim.updates.gram import gram_of_blocks, sign_agreement_of_blocks, squared_distances
from fedsim.updates.order_statistics import sum_rows
from fedsim.updates.quantiles import absolute_quantiles
from fedsim.updates.row_statistics import RowStatistic, in_one_walk, squared_norms, sums

BLOCK = 1 << 15
"""Columns of a block: as many as torch needs to use two threads. A rank's columns begin at a multiple of it."""

NARROWEST, CPU_BLOCK_VALUES = 1 << 10, 1 << 21
"""Of blocks on a CPU: fewer columns where rows are many, or what is made of a block would be new memory each time."""

CUDA_BLOCK_VALUES = 1 << 24
"""Values of a block on a GPU: many, so that launches do not dominate, and in float64 no more than 128 MiB."""


def block_width(num_rows: int, device: torch.device) -> int:
    """How many columns of a matrix with so many rows make a block.

    >>> cpu = torch.device("cpu")
    >>> block_width(8, cpu), block_width(1000, cpu), block_width(8, torch.device("cuda"))
    (32768, 2048, 2097152)
    """
    if device.type == "cuda":
        return max(1, CUDA_BLOCK_VALUES // (max(1, num_rows) * BLOCK)) * BLOCK
    width = BLOCK
    while width > NARROWEST and num_rows * width > CPU_BLOCK_VALUES:
        width //= 2
    return width


def cut_columns(total: int, num_rows: int, device: torch.device, exchange: Exchange = ALONE) -> Columns:
    """The columns of a matrix with so many rows; each rank's begin at a multiple of ``BLOCK``."""
    width = block_width(num_rows, device)
    return Columns.cut(total, width, exchange, multiple=max(width, BLOCK))


class UpdateMatrix(BlockedMatrix):
    """K rows of D coordinates that must not change while the matrix is in use.

    Args:
        rows: tensor [K, D] of a floating dtype; it is neither copied nor changed.
        index: which rows of the tensor belong to the matrix, in which order (default: all).
        columns: which columns of a matrix the tensor holds, if its other columns lie on other ranks, or if only some
            columns of the tensor belong to the matrix.
        maps: who runs its column maps, and those of all matrices that are made of it.

    Statistics are always those of the whole matrix, also where its columns are distributed over ranks.

    >>> updates = UpdateMatrix(torch.tensor([[1.0, 2.0], [3.0, -4.0]]))
    >>> updates.row_norms()
    tensor([2.2361, 5.0000], dtype=torch.float64)
    >>> updates.mean()
    tensor([ 2., -1.])
    """

    def __init__(
        self,
        rows: Tensor,
        index: Sequence[int] | None = None,
        columns: Columns | None = None,
        maps: MapRunner = EAGER,
    ) -> None:
        if rows.ndim != 2 or not rows.is_floating_point():
            raise ValueError(f"rows must be a floating tensor [K, D], not {rows.dtype} {list(rows.shape)}")
        self._rows = rows
        self._picked = None if index is None else list(index)
        self._columns = columns or cut_columns(rows.shape[1], len(rows), rows.device)
        self._maps = maps

    @classmethod
    def of(cls, rows: "RowsLike | UpdateMatrix") -> "UpdateMatrix":
        """``rows`` itself if it is an update matrix, else a matrix over the tensor, array or list [K, D]."""
        return rows if isinstance(rows, UpdateMatrix) else cls(as_rows(rows))

    @property
    def num_rows(self) -> int:
        """K."""
        return len(self._rows) if self._picked is None else len(self._picked)

    @property
    def dtype(self) -> torch.dtype:
        return self._rows.dtype

    @property
    def device(self) -> torch.device:
        return self._rows.device

    @property
    def writes(self) -> int:
        """How often somebody has written into the tensor behind it, where torch counts that."""
        return 0 if self._rows.is_inference() else self._rows._version

    def _cut(self, cuts: Sequence[tuple[int, int]]) -> Iterator[Tensor]:
        for start, stop in cuts:
            block = self._rows[:, start:stop]
            yield block if self._index is None else block[self._index]

    def __repr__(self) -> str:
        return f"{type(self).__name__}(rows={self.num_rows}, columns={self.num_columns}, dtype={self.dtype})"

    # Views: derived matrices are update matrices themselves, so their modules are imported where they are made --

    def select(self, rows: Sequence[int]) -> "UpdateMatrix":
        """The matrix of these rows, in this order; nothing is copied."""
        if self._picked is not None:
            rows = [self._picked[row] for row in rows]
        if len(rows) > 0 and list(rows) == list(range(rows[0], rows[0] + len(rows))):
            rows_alone = self._rows[rows[0] : rows[0] + len(rows)]  # neighbours need no gathering
            return UpdateMatrix(rows_alone, columns=self._columns, maps=self._maps)
        return UpdateMatrix(self._rows, rows, self._columns, self._maps)

    def beside(self, vectors: Tensor) -> "UpdateMatrix":
        """Other vectors [n, local_columns] over the same columns, as a matrix of their own.

        A norm or an inner product of vectors is taken through it, since a rank may hold only some coordinates.

        >>> UpdateMatrix(torch.zeros(1, 2)).beside(torch.tensor([[3.0, 4.0]])).row_norms()
        tensor([5.], dtype=torch.float64)
        """
        return UpdateMatrix(vectors, columns=self._columns.compact(), maps=self._maps)

    def local_rows(self) -> Tensor:
        """The rows [K, local_columns] as a plain tensor; a copy where rows or columns were selected."""
        return self._columns.read(self._rows if self._index is None else self._rows[self._index])

    def tensor(self) -> Tensor:
        """The plain tensor [K, D] of the whole matrix; of one that is distributed over ranks a copy on every rank."""
        rows = self.local_rows()
        if self._columns.is_whole:
            return rows
        text = "UpdateMatrix.tensor() gathers a matrix that is distributed over ranks: each rank then holds all of it"
        warnings.warn(text, FedsimWarning, stacklevel=2)
        return self._columns.concatenate_rows(rows)

    def row(self, position: int) -> Tensor:
        """Row ``position`` as a tensor [local_columns]."""
        return self._columns.read(self._rows[position if self._picked is None else self._picked[position]])

    def columns(self, ranges: Sequence[tuple[int, int]]) -> "UpdateMatrix":
        """The matrix of the columns [start, stop) of each range, in rising order; nothing is copied."""
        return UpdateMatrix(self._rows, self._picked, self._columns.pick(ranges), self._maps)

    def cut_out(self, vector: Tensor) -> Tensor:
        """The part [..., local_columns] of vectors [..., D] that belongs to the columns here."""
        return self._columns.cut_out(vector)

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

    # Row statistics -----------------------------------------------------------------------------

    def prepare(self, *statistics: RowStatistic) -> None:
        """Compute these statistics in one walk over the blocks; they are kept for later.

        They have the bits that they have without it. A derived matrix with a shorter way to one takes that later.
        """
        attributes = {"norms": "_squared_norms", "gram": "_gram", "sign_agreement": "_sign_agreement"}
        missing = [
            name
            for name in dict.fromkeys(statistics)
            if attributes[name] not in vars(self)
            and getattr(type(self), attributes[name]) is getattr(UpdateMatrix, attributes[name])
        ]
        if missing:
            found = in_one_walk(missing, self.num_rows, self.sum_over_blocks)
            vars(self).update(zip((attributes[name] for name in missing), found, strict=True))

    def finite_rows(self) -> list[bool]:
        """Which rows hold neither NaN nor infinity."""
        return list(self._finite_rows)

    @cached_property
    def _finite_rows(self) -> list[bool]:
        # A finite sum of any kind shows it. What is finite may overflow in a sum, so that those rows are counted.
        known: dict[str, Tensor] = vars(self)
        if "_squared_norms" in known:
            shows = known["_squared_norms"]
        elif "_gram" in known:
            shows = known["_gram"].diagonal()
        else:
            shows = self.sum_over_blocks(sums)
        if bool(shows.isfinite().all()):
            return [True] * self.num_rows
        bad = self.sum_over_blocks(lambda block: block.shape[1] - block.isfinite().sum(1))
        return [count == 0 for count in bad.tolist()]

    def row_norms(self) -> Tensor:
        """Euclidean norms [K], float64."""
        return self._squared_norms.sqrt()

    @cached_property
    def _squared_norms(self) -> Tensor:
        return self.sum_over_blocks(squared_norms)

    def gram(self) -> Tensor:
        """Inner products of each two rows [K, K], float64."""
        return self._gram.clone()

    @cached_property
    def _gram(self) -> Tensor:
        return self.sum_over_blocks(gram_of_blocks())

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
        return self.sum_over_blocks(sign_agreement_of_blocks())

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
        """Coordinate-wise mean [local_columns]."""
        return self.map_columns(_mean)

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Sum of the rows with weights [K], as [local_columns]; rows of weight zero are not read."""
        weights = weights.double().cpu()
        used = [row for row, weight in enumerate(weights.tolist()) if weight != 0]
        if not used:
            return torch.zeros(self.local_columns, dtype=self.dtype, device=self.device)
        scale = weights[used, None].to(self.device)
        rows = self if len(used) == self.num_rows else self.select(used)
        return rows.map_columns(_weighted_sum, scale)


@column_map
def _mean(block: Tensor) -> Tensor:
    return sum_rows(block).div_(len(block))


@column_map
def _weighted_sum(block: Tensor, weights: Tensor) -> Tensor:
    return sum_rows(block * weights)
