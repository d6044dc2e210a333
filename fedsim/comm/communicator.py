"""What the simulation needs from its transport, and the twin that is a single process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from fedsim.comm.devices import RankDevice
from fedsim.comm.health.monitor import Monitor
from fedsim.comm.health.rank_status import RankStatus
from fedsim.comm.place import RankPlace
from fedsim.comm.rows import LocalRows, RowTransport


class Communicator(ABC):
    """The ranks of a run, seen from one of them.

    Attributes:
        place: rank, size, and the same on this host.
        device: where this rank computes.
        row_device: where its rows travel: ``device`` under NCCL or alone, else the CPU.
        devices: what each rank computes on, by rank.
        monitor: what the ranks know of each other.
    """

    def __init__(self, place: RankPlace, device: torch.device, row_device: torch.device) -> None:
        self.place, self.device, self.row_device = place, device, row_device
        self.devices = [RankDevice.of(device)]
        self.monitor = Monitor(place.rank, {place.rank: RankStatus(rank=place.rank)})

    @property
    def rank(self) -> int:
        return self.place.rank

    @property
    def size(self) -> int:
        return self.place.size

    @property
    @abstractmethod
    def description(self) -> str:
        """How rows travel, in words."""

    @abstractmethod
    def open_rows(
        self, slots: int, columns: int, ranges: Sequence[Sequence[tuple[int, int]]] | None = None
    ) -> RowTransport:
        """A transport for up to ``slots`` rows [D] of float32; every rank calls it alike.

        Args:
            ranges: the columns [start, stop) that each rank is to get of all rows, by rank; left out, rank 0 gets the
                whole rows.
        """

    @abstractmethod
    def barrier(self, phase: str) -> None:
        """Wait for all ranks.

        Raises:
            CollectiveError: names the phase, and on rank 0 the ranks that did not arrive in time if no monitor does.
        """

    @abstractmethod
    def broadcast(self, tensor: Tensor) -> None:
        """Overwrite ``tensor`` on every rank by that of rank 0."""

    @abstractmethod
    def complete(self, vector: Tensor, ranges: Sequence[Sequence[tuple[int, int]]]) -> None:
        """Fill in the coordinates of ``vector`` [n] that other ranks have, on every rank.

        Args:
            ranges: what each rank has, [start, stop) each, by rank; ranks beyond them have nothing.
        """

    @property
    @abstractmethod
    def shares_memory(self) -> bool:
        """Whether rows lie in memory that all ranks map, so that they are no copies of each other."""

    @abstractmethod
    def gather(self, values: Tensor) -> list[Tensor]:
        """Tensors [n_r, ...] of all ranks, by rank; only n_r may differ. They come back on the device of this one."""

    @abstractmethod
    def all_gather(self, tensor: Tensor) -> Tensor:
        """CPU tensors of one shape from all ranks, stacked by rank [W, ...]."""

    @abstractmethod
    def share_text(self, text: str) -> str:
        """The text that rank 0 gave, on every rank."""

    @abstractmethod
    def close(self) -> None:
        """Give the transport back; safe to call twice."""

    @contextmanager
    def first_on_each_host(self, phase: str) -> Iterator[None]:
        """Run the block on the first rank of each host, then on the others (so that one fills the caches)."""
        if self.place.local_rank != 0:
            self.barrier(phase)
        yield
        if self.place.local_rank == 0:
            self.barrier(phase)


class SingleProcess(Communicator):
    """One rank that hosts every client: no process group, the same results."""

    def __init__(self, device: torch.device | None = None) -> None:
        device = device or torch.device("cpu")
        super().__init__(RankPlace(0, 1, 0, 1), device, device)

    @property
    def description(self) -> str:
        return "one process"

    def open_rows(
        self, slots: int, columns: int, ranges: Sequence[Sequence[tuple[int, int]]] | None = None
    ) -> RowTransport:
        return LocalRows(slots, columns, self.row_device)

    def barrier(self, phase: str) -> None:
        pass

    def broadcast(self, tensor: Tensor) -> None:
        pass

    def complete(self, vector: Tensor, ranges: Sequence[Sequence[tuple[int, int]]]) -> None:
        pass

    @property
    def shares_memory(self) -> bool:
        return True

    def gather(self, values: Tensor) -> list[Tensor]:
        return [values]

    def all_gather(self, tensor: Tensor) -> Tensor:
        return tensor[None].clone()

    def share_text(self, text: str) -> str:
        return text

    def close(self) -> None:
        pass
