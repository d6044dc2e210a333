"""Which columns of a round's rows [K, D + D_b] the server on this rank works on: all, or some of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from fedsim.updates.columns import ALONE, Columns, Exchange
from fedsim.updates.matrix import cut_columns


@dataclass(frozen=True)
class RowColumns:
    """The columns of rows that hold parameters and buffers, as far as the server on this rank works on them.

    What the defence sees (``seen`` columns: the parameters, or with ``server.buffers: in_row`` the whole row) may be
    distributed over ranks. Buffers beside it are few: rank 0 has them all. A vector over the row is local if it holds
    this rank's seen columns, and then its buffers.

    Attributes:
        parameters: D, of all ranks.
        buffers: D_b, of all ranks.
        in_row: whether the defence sees the buffers too.
        seen: how the columns that the defence sees are distributed; None: all are here.

    >>> columns = RowColumns(parameters=3, buffers=1)
    >>> columns.split(columns.local(torch.arange(4)))
    (tensor([0, 1, 2]), tensor([3]))
    """

    parameters: int
    buffers: int
    in_row: bool = False
    seen: Columns | None = None

    @classmethod
    def distributed(
        cls, parameters: int, buffers: int, exchange: Exchange, *, in_row: bool, rows: int, device: torch.device
    ) -> RowColumns:
        """The columns of ``rows`` rows on ``device``, distributed over the ranks of an exchange."""
        total = parameters + buffers if in_row else parameters
        return cls(parameters, buffers, in_row, cut_columns(total, rows, device, exchange))

    @property
    def total(self) -> int:
        """D + D_b."""
        return self.parameters + self.buffers

    @property
    def exchange(self) -> Exchange:
        """With the ranks that work on the other columns."""
        return ALONE if self.seen is None else self.seen.exchange

    @property
    def ranges(self) -> list[list[tuple[int, int]]]:
        """The columns [start, stop) that each rank works on, by rank."""
        if self.seen is None:
            return [[(0, self.total)]]
        ranges = [[piece] for piece in pairwise(self.seen.bounds)]
        ranges[0].append((self.seen.total, self.total))
        return ranges

    @property
    def own(self) -> list[tuple[int, int]]:
        """The columns [start, stop) that this rank works on."""
        return self.ranges[self.exchange.rank]

    @property
    def here(self) -> int:
        """How many columns this rank works on."""
        return sum(stop - start for start, stop in self.own)

    @property
    def seen_here(self) -> int:
        """How many of the columns that the defence sees are here."""
        if self.seen is None:
            return self.total if self.in_row else self.parameters
        return self.seen.here

    def seen_of(self, rows: int, device: torch.device) -> Columns:
        """The columns that the defence sees of so many rows on ``device``, in their blocks."""
        return self.seen or cut_columns(self.seen_here, rows, device)

    @property
    def parameters_here(self) -> int:
        """How many parameters are here: they come first."""
        first = 0 if self.seen is None else self.seen.start
        return min(max(0, self.parameters - first), self.seen_here)

    @property
    def of_parameters(self) -> Columns | None:
        """How the parameters are distributed; None: all are here."""
        if self.seen is None or not self.in_row:
            return self.seen
        return self.seen.pick([(0, self.parameters)]).compact()

    @property
    def of_vectors(self) -> list[Columns]:
        """How vectors are distributed: over what the defence sees, and over the parameters; empty: all is here."""
        if self.seen is None or self.seen.is_whole:
            return []
        parameters = self.of_parameters
        return [self.seen] if parameters is None or parameters.total == self.seen.total else [self.seen, parameters]

    def local(self, vectors: Tensor) -> Tensor:
        """This rank's part [..., here] of vectors [..., D + D_b] over the row."""
        parts = [vectors[..., start:stop] for start, stop in self.own if start < stop]
        return parts[0] if len(parts) == 1 else torch.cat([*parts, vectors[..., :0]], dim=-1)

    def split(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """What the defence sees of local vectors [..., here], and the buffers that it does not see."""
        return vectors[..., : self.seen_here], vectors[..., self.seen_here :]

    def rows(self, gathered: Tensor) -> tuple[Tensor, Tensor]:
        """What the defence sees of the rows here, and the buffers that it does not see; nothing is copied.

        Args:
            gathered: [K, D + D_b], or [K, here].
        """
        if self.seen is None or gathered.shape[1] != self.total:
            return self.split(gathered)
        (start, stop), *beside = self.own
        first, last = beside[0] if beside else (0, 0)
        return gathered[:, start:stop], gathered[:, first:last]

    def of_buffers(self, of_all: Tensor) -> Tensor:
        """What is said of the D_b buffers [D_b], for those in local vectors."""
        return self.local(torch.cat([of_all.new_zeros(self.parameters), of_all]))[self.parameters_here :]

    def spread(self, local: Tensor) -> Tensor:
        """A vector [D + D_b] that holds the local one in its place; the columns of other ranks are not filled in."""
        if self.seen is None:
            return local
        whole = local.new_empty(self.total)
        for (start, stop), part in zip(
            self.own, local.split([stop - start for start, stop in self.own]), strict=True
        ):
            whole[start:stop] = part
        return whole

    def count(self, number: int) -> int:
        """The sum of a number over the ranks that work on columns."""
        return sum(int(of_rank) for of_rank in self.exchange.gather(torch.tensor([number])))
