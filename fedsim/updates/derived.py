"""Update matrices that are computed block by block from another one: selected, scaled, mixed, extended rows."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fedsim.updates.blocked_matrix import BlockMap
from fedsim.updates.column_maps import BlockFunction
from fedsim.updates.gram import gram_of_blocks
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.order_statistics import sum_rows


class DerivedRows(UpdateMatrix):
    """A matrix that is computed block by block from another one."""

    _blocks_merge = False

    def __init__(self, source: UpdateMatrix) -> None:
        self._source = source
        self._columns, self._maps = source._columns.compact(), source._maps

    @property
    def dtype(self) -> torch.dtype:
        return self._source.dtype

    @property
    def device(self) -> torch.device:
        return self._source.device

    @property
    def writes(self) -> int:
        return self._source.writes

    def select(self, rows: Sequence[int]) -> "UpdateMatrix":
        return SelectedRows(self, rows)

    def _unless_overflown(self, gram: Tensor) -> Tensor:
        """The Gram matrix made of the source's; by a pass over the rows where that one overflowed (float64 rows)."""
        return gram if bool(gram.isfinite().all()) else self.sum_over_blocks(gram_of_blocks())

    def local_rows(self) -> Tensor:
        return self.map_columns(lambda block: block, height=self.num_rows)

    def row(self, position: int) -> Tensor:
        # Copied block by block: views of one row would keep the blocks of all rows alive.
        return self.map_columns(lambda block: block[position])


class SelectedRows(DerivedRows):
    """Some rows of a derived matrix; see :meth:`UpdateMatrix.select`."""

    def __init__(self, source: UpdateMatrix, rows: Sequence[int]) -> None:
        super().__init__(source)
        self._chosen = list(rows)
        self._chosen_index = torch.tensor(self._chosen, dtype=torch.long, device=source.device)

    @property
    def num_rows(self) -> int:
        return len(self._chosen)

    def blocks(self) -> Iterator[Tensor]:
        for block in self._source.blocks():
            yield block[self._chosen_index]

    def columns(self, ranges: Sequence[tuple[int, int]]) -> UpdateMatrix:
        return self._source.columns(ranges).select(self._chosen)


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

    def columns(self, ranges: Sequence[tuple[int, int]]) -> UpdateMatrix:
        return ScaledRows(self._source.columns(ranges), self._factors, self._dtype)

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

    def columns(self, ranges: Sequence[tuple[int, int]]) -> UpdateMatrix:
        return MixedRows(self._source.columns(ranges), self._weights)


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
        return zip(self._source.blocks(), self._columns.split(below), strict=True)

    def columns(self, ranges: Sequence[tuple[int, int]]) -> UpdateMatrix:
        below = self._source.beside(self._distinct).columns(ranges).local_rows()
        return ExtendedRows(self._source.columns(ranges), below.expand(len(self._below), -1))

    def map_order_statistics(self, wanted: range, function: BlockFunction, *arguments: Any) -> Tensor:
        """As for any matrix; below n sorted values h, B equal ones x make the r-th min(h_r, max(x, h_(r-B)))."""
        if not self._all_equal:
            return super().map_order_statistics(wanted, function, *arguments)
        above, equal = self._source.num_rows, len(self._below)
        held = range(max(0, wanted.start - equal), min(above, wanted.stop))
        result = self._empty_result()
        vectors = (self._source.kept_order_statistics(held), self._distinct[0], result)
        for h, x, piece in zip(*map(self._columns.split, vectors), strict=True):
            merged = x.repeat(len(wanted), 1)
            for value, position in zip(merged, wanted, strict=True):
                if position >= equal:
                    torch.maximum(value, h[position - equal - held.start], out=value)
                if position < above:
                    torch.minimum(value, h[position - held.start], out=value)
            piece.copy_(function(merged, *arguments))
        return result

    def weighted_sum(self, weights: Tensor) -> Tensor:
        above, below = weights.double().to(self.device)[:, None].split([self._source.num_rows, len(self._below)])
        if not bool(below.any()):
            return self._source.weighted_sum(above[:, 0])
        if self._all_equal:
            below = below.sum(0, keepdim=True)
        result = self._empty_result()
        for (block, others), piece in zip(self._pairs(self._distinct), self._columns.split(result), strict=True):
            piece.copy_(sum_rows(block * above).add_(sum_rows(others * below)))
        return result

    @cached_property
    def _squared_norms(self) -> Tensor:
        return torch.cat(
            [self._source._squared_norms, self._of_below(self._source.beside(self._distinct)._squared_norms)]
        )

    @cached_property
    def _finite_rows(self) -> list[bool]:
        below = self._source.beside(self._distinct).finite_rows()
        return self._source.finite_rows() + (below * len(self._below) if self._all_equal else below)

    def _find_absolute_quantiles(self, share: float) -> Tensor:
        below = self._of_below(self._source.beside(self._distinct).absolute_quantiles(share))
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
        held = torch.empty(size * max(self._columns.widths, default=0), dtype=within, device=self.device)

        def products() -> Iterator[Tensor]:
            for block, others in self._pairs(self._distinct):
                # Dense, whatever the width of the widest block here: bits of a product may depend on the strides.
                rows = held[: size * block.shape[1]].view(size, -1)
                rows[:above] = form(block)
                rows[above:] = form(others)
                yield (rows[first:] @ rows.T).to(dtype)

        nothing = torch.zeros(size - first, size, dtype=dtype, device=self.device)
        total = self._columns.add_up(products(), lambda: nothing)
        if corner is None:
            vars(self._source)[name] = total[:above, :above].clone()
        else:
            total = torch.cat([torch.cat([corner, total[:, :above].T], dim=1), total])
        total[:above, above:] = total[above:, :above].T
        if not self._all_equal:
            return total
        order = torch.arange(self.num_rows, device=self.device).clamp_(max=above)  # equal rows are all the first one
        return total[order][:, order]

    def _of_below(self, distinct: Tensor) -> Tensor:
        """What is said of the distinct rows below, for each of them."""
        return distinct.expand(len(self._below)) if self._all_equal else distinct
