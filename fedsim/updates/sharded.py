"""An update matrix cut by columns into shards, the one-process twin of a server distributed over ranks."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor

from fedsim.updates.matrix import BLOCK, BlockMap, UpdateMatrix


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

    def map_order_statistics(self, wanted: range, function: BlockMap) -> Tensor:
        return torch.cat([shard.map_order_statistics(wanted, function) for shard in self._shards])

    def kept_order_statistics(self, wanted: range) -> Tensor:
        return torch.cat([shard.kept_order_statistics(wanted) for shard in self._shards], dim=1)

    def map_columns_with_tally(
        self, function: Callable[[Tensor], tuple[Tensor, Tensor]], height: int | None = None
    ) -> tuple[Tensor, Tensor]:
        values, tallies = zip(
            *(shard.map_columns_with_tally(function, height) for shard in self._shards), strict=True
        )
        return torch.cat(values, dim=-1), torch.stack(tallies).sum(0)
