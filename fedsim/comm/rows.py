"""How rows get from the ranks where clients write them to where the server works on them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
import torch.distributed as dist
from torch import Tensor


class RowTransport(ABC):
    """Rows of one width, which clients write into :meth:`row`.

    :meth:`gather` brings them to where the server works: whole to rank 0, or some columns of all rows to each rank.
    """

    @abstractmethod
    def row(self, slot: int) -> Tensor:
        """The row [D] to write for ``slot``, on the rank that owns the slot."""

    @abstractmethod
    def gather(self, owners: Sequence[int]) -> Tensor | None:
        """The matrix [len(owners), D] on rank 0, None elsewhere; slot i was written on rank ``owners[i]``.

        Where each rank gets some columns, they come on each rank: in the whole matrix, of which other columns may
        change at any time, or one range after another as [len(owners), n].

        Rows stay valid until the next gather. Every rank takes part, after its last write.
        """


class LocalRows(RowTransport):
    """One process: the matrix itself."""

    def __init__(self, slots: int, columns: int, device: torch.device) -> None:
        self._matrix = torch.zeros(slots, columns, device=device)

    def row(self, slot: int) -> Tensor:
        return self._matrix[slot]

    def gather(self, owners: Sequence[int]) -> Tensor | None:
        return self._matrix[: len(owners)]


class SharedRows(RowTransport):
    """Ranks of one host: a matrix in shared memory that all map; nothing travels.

    Args:
        matrix: [slots, D], the same memory in every rank.
        barrier: returns when all ranks have written.
        to_all: whether every rank gets the matrix, not only rank 0.
    """

    def __init__(self, matrix: Tensor, rank: int, barrier: Callable[[], None], *, to_all: bool = False) -> None:
        self._matrix, self._barrier, self._gets = matrix, barrier, to_all or rank == 0

    def row(self, slot: int) -> Tensor:
        return self._matrix[slot]

    def gather(self, owners: Sequence[int]) -> Tensor | None:
        self._barrier()
        return self._matrix[: len(owners)] if self._gets else None


class RowBuffers:
    """The rows [D] that a rank writes in a round and sends to others.

    There are as many as it has owned in one round, not one for every slot: the owners of slots change from round to
    round where not all clients take part.
    """

    def __init__(self, columns: int, device: torch.device) -> None:
        self._columns, self._device = columns, device
        self._buffers: list[Tensor] = []
        self._written: dict[int, Tensor] = {}
        """Rows of this round, by slot."""

    def row(self, slot: int) -> Tensor:
        """The row of a slot in this round."""
        if slot not in self._written:
            if len(self._written) == len(self._buffers):
                self._buffers.append(torch.zeros(self._columns, device=self._device))
            self._written[slot] = self._buffers[len(self._written)]
        return self._written[slot]

    def clear(self) -> None:
        """The round is over: its rows have been sent."""
        self._written.clear()


class ExchangedColumns(RowTransport):
    """Ranks of several hosts, or GPUs under NCCL, each of which gets some columns of all rows.

    A rank keeps the rows that it has owned in one round, and its columns of all rows.

    Args:
        ranges: the columns [start, stop) of each rank, by rank.
        gathering: entered when all ranks have written.
    """

    def __init__(
        self,
        slots: int,
        columns: int,
        rank: int,
        device: torch.device,
        ranges: Sequence[Sequence[tuple[int, int]]],
        gathering: Callable[[], AbstractContextManager[None]],
        group: dist.ProcessGroup | None = None,
    ) -> None:
        self._columns, self._rank, self._device, self._gathering = columns, rank, device, gathering
        self._ranges = [[(start, stop) for start, stop in of_rank if start < stop] for of_rank in ranges]
        self._group = group
        self._matrix = torch.zeros(slots, sum(stop - start for start, stop in self._ranges[rank]), device=device)
        self._written = RowBuffers(columns, device)

    def row(self, slot: int) -> Tensor:
        return self._written.row(slot)

    def gather(self, owners: Sequence[int]) -> Tensor | None:
        matrix = self._matrix[: len(owners)]
        operations = []
        for slot, owner in enumerate(owners):
            if owner == self._rank:
                row = self.row(slot)
                matrix[slot] = torch.cat([row[start:stop] for start, stop in self._ranges[owner]] or [row[:0]])
                operations += [
                    dist.P2POp(dist.isend, row[start:stop], rank, self._group)
                    for rank, ranges in enumerate(self._ranges)
                    for start, stop in ranges
                    if rank != owner
                ]
            else:
                pieces = matrix[slot].split([stop - start for start, stop in self._ranges[self._rank]] or [0])
                operations += [dist.P2POp(dist.irecv, piece, owner, self._group) for piece in pieces if len(piece)]
        with self._gathering():
            for work in dist.batch_isend_irecv(operations) if operations else []:
                work.wait()
        self._written.clear()
        return matrix


class PointToPointRows(RowTransport):
    """Ranks of several hosts, or GPUs under NCCL: batched sends into a matrix prepared on rank 0.

    Args:
        gathering: entered when all ranks have written.
    """

    def __init__(
        self,
        slots: int,
        columns: int,
        rank: int,
        device: torch.device,
        gathering: Callable[[], AbstractContextManager[None]],
        group: dist.ProcessGroup | None = None,
    ) -> None:
        self._matrix = torch.zeros(slots if rank == 0 else 0, columns, device=device)
        self._rank, self._gathering, self._group = rank, gathering, group
        self._written = RowBuffers(columns, device)

    def row(self, slot: int) -> Tensor:
        return self._matrix[slot] if self._rank == 0 else self._written.row(slot)

    def gather(self, owners: Sequence[int]) -> Tensor | None:
        remote = [(slot, owner) for slot, owner in enumerate(owners) if owner != 0]
        if self._rank == 0:
            operations = [dist.P2POp(dist.irecv, self._matrix[slot], owner, self._group) for slot, owner in remote]
        else:
            own = [slot for slot, owner in remote if owner == self._rank]
            operations = [dist.P2POp(dist.isend, self.row(slot), 0, self._group) for slot in own]
        with self._gathering():
            for work in dist.batch_isend_irecv(operations) if operations else []:
                work.wait()
        self._written.clear()
        return self._matrix[: len(owners)] if self._rank == 0 else None
