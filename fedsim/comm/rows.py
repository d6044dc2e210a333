"""How rows get from the ranks where clients write them to the matrix on rank 0."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
import torch.distributed as dist
from torch import Tensor


class RowTransport(ABC):
    """Rows of one width. A client writes into :meth:`row`; :meth:`gather` brings all rows to rank 0."""

    @abstractmethod
    def row(self, slot: int) -> Tensor:
        """The row [D] to write for ``slot``, on the rank that owns the slot."""

    @abstractmethod
    def gather(self, owners: Sequence[int]) -> Tensor | None:
        """The matrix [len(owners), D] on rank 0, None elsewhere; slot i was written on rank ``owners[i]``.

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
    """

    def __init__(self, matrix: Tensor, rank: int, barrier: Callable[[], None]) -> None:
        self._matrix, self._rank, self._barrier = matrix, rank, barrier

    def row(self, slot: int) -> Tensor:
        return self._matrix[slot]

    def gather(self, owners: Sequence[int]) -> Tensor | None:
        self._barrier()
        return self._matrix[: len(owners)] if self._rank == 0 else None


class PointToPointRows(RowTransport):
    """Ranks of several hosts, or GPUs under NCCL: batched sends into a matrix prepared on rank 0.

    Other ranks keep as many rows as they have owned in one round, not one for every slot: the owners of slots change
    from round to round where not all clients take part.

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
        self._columns, self._rank, self._device, self._gathering = columns, rank, device, gathering
        self._group = group
        self._buffers: list[Tensor] = []
        self._written: dict[int, Tensor] = {}
        """Rows of this round, by slot."""

    def row(self, slot: int) -> Tensor:
        if self._rank == 0:
            return self._matrix[slot]
        if slot not in self._written:
            if len(self._written) == len(self._buffers):
                self._buffers.append(torch.zeros(self._columns, device=self._device))
            self._written[slot] = self._buffers[len(self._written)]
        return self._written[slot]

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
