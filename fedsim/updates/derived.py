"""Update matrices that are computed block by block from another one: selected, scaled, mixed, extended rows."""

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from fedsim.updates.gram import block_gram
from fedsim.updates.matrix import BlockMap, UpdateMatrix
from fedsim.updates.order_statistics import sum_rows


class DerivedRows(UpdateMatrix):
    """A matrix that is computed block by block from another one."""

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

    @property
    def _block_width(self) -> int:
        return self._source._block_width

    def select(self, rows: Sequence[int]) -> "UpdateMatrix":
        return SelectedRows(self, rows)

    def _unless_overflown(self, gram: Tensor) -> Tensor:
        """The Gram matrix made of the source's; by a pass over the rows where that one overflowed (float64 rows)."""
        return gram if bool(gram.isfinite().all()) else self.sum_over_blocks(block_gram)

    def tensor(self) -> Tensor:
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

    def _slice(self, start: int, stop: int) -> UpdateMatrix:
        return self._source._slice(start, stop).select(self._chosen)


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

    def map_order_statistics(self, wanted: range, function: BlockMap) -> Tensor:
        """As for any matrix; below n sorted values h, B equal ones x make the r-th min(h_r, max(x, h_(r-B)))."""
        if not self._all_equal:
            return super().map_order_statistics(wanted, function)
        above, equal = self._source.num_rows, len(self._below)
        held = range(max(0, wanted.start - equal), min(above, wanted.stop))
        result = torch.empty(self.num_columns, dtype=self.dtype, device=self.device)
        width = self._block_width
        ordered, row = self._source.kept_order_statistics(held).split(width, dim=1), self._distinct[0].split(width)
        for h, x, piece in zip(ordered, row, result.split(width), strict=True):
            merged = x.repeat(len(wanted), 1)
            for value, position in zip(merged, wanted, strict=True):
                if position >= equal:
                    torch.maximum(value, h[position - equal - held.start], out=value)
                if position < above:
                    torch.minimum(value, h[position - held.start], out=value)
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
        if not self._all_equal:
            return total
        order = torch.arange(self.num_rows, device=self.device).clamp_(max=above)  # equal rows are all the first one
        return total[order][:, order]

    def _of_below(self, distinct: Tensor) -> Tensor:
        """What is said of the distinct rows below, for each of them."""
        return distinct.expand(len(self._below)) if self._all_equal else distinct
