"""The communicator over torch.distributed: gloo for control, NCCL for rows where each rank has its own GPU."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from fedsim.comm.communicator import Communicator, SingleProcess
from fedsim.comm.place import RankPlace
from fedsim.comm.rows import LocalRows, PointToPointRows, RowTransport, SharedRows
from fedsim.comm.shared_memory import create_reserved_file, map_file, remove_file
from fedsim.errors import RankError

log = logging.getLogger(__name__)

TEXT_BYTES = 4096


def open_communicator(place: RankPlace, device: torch.device, timeout: float) -> Communicator:
    """The communicator for this place: a single process, or a process group over all ranks.

    Args:
        timeout: seconds that ranks wait for each other.
    """
    return SingleProcess(device) if place.size == 1 else ProcessGroup(place, device, timeout)


class ProcessGroup(Communicator):
    """All ranks of a torchrun, over gloo, and NCCL for rows if no two ranks share a GPU."""

    def __init__(self, place: RankPlace, device: torch.device, timeout: float) -> None:
        self._timeout = timedelta(seconds=timeout)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("gloo", timeout=self._timeout)
        self._control: dist.ProcessGroup | None = None  # the default group, which is gloo
        super().__init__(place, device, torch.device("cpu"))
        hosts = self._gather_text(f"{socket.gethostname()}/{_boot_id()}")
        self._one_host = len(set(hosts)) == 1
        own_gpus = self._gather_text(f"{hosts[self.rank]}/{device}" if device.type == "cuda" else "")
        self._nccl: dist.ProcessGroup | None = None
        if device.type == "cuda" and len(set(own_gpus)) == self.size:
            # NCCL refuses two ranks on one GPU; then rows go over the CPU.
            group = dist.new_group(backend="nccl", timeout=self._timeout)
            assert isinstance(group, dist.ProcessGroup)
            self._nccl = group
            self.row_device = device

    @property
    def description(self) -> str:
        if self._nccl is not None:
            return "NCCL"
        return "shared memory of one host" if self._one_host else "gloo, point to point"

    def open_rows(self, slots: int, columns: int) -> RowTransport:
        if columns == 0:
            return LocalRows(slots, 0, self.row_device)
        if self._one_host and self._nccl is None:
            matrix = self._open_shared(slots, columns)
            if matrix is not None:
                return SharedRows(matrix, self.rank, lambda: self.barrier("gather"))
            if self.rank == 0:
                log.warning("no room for %d x %d values in shared memory: rows go point to point", slots, columns)
        return PointToPointRows(
            slots, columns, self.rank, self.row_device, lambda: self.barrier("gather"), group=self._nccl
        )

    def _open_shared(self, slots: int, columns: int) -> Tensor | None:
        """The matrix that all ranks map, or None if one of them cannot; the file's name is gone on return."""
        path = self.share_text(create_reserved_file(slots * columns) if self.rank == 0 else "")
        try:
            matrix = map_file(path, slots, columns) if path else None
            mapped = self.all_gather(torch.tensor(matrix is not None))
        finally:
            if self.rank == 0 and path:
                remove_file(path)
        return matrix if bool(mapped.all()) else None

    def barrier(self, phase: str) -> None:
        with _naming(phase):
            dist.monitored_barrier(self._control, timeout=self._timeout, wait_all_ranks=True)

    def broadcast(self, tensor: Tensor) -> None:
        if tensor.numel() == 0:
            return
        if tensor.device.type == "cuda" and self._nccl is not None:
            dist.broadcast(tensor, 0, group=self._nccl)
            return
        carrier = tensor.cpu()
        with _naming("broadcast"):
            dist.broadcast(carrier, 0, group=self._control)
        if carrier is not tensor:
            tensor.copy_(carrier)

    def all_gather(self, tensor: Tensor) -> Tensor:
        assert tensor.device.type == "cpu"
        gathered = [torch.empty_like(tensor) for _ in range(self.size)]
        with _naming("exchange"):
            dist.all_gather(gathered, tensor, group=self._control)
        return torch.stack(gathered)

    def share_text(self, text: str) -> str:
        carrier = _text_to_bytes(text)
        self.broadcast(carrier)
        return _bytes_to_text(carrier)

    def _gather_text(self, text: str) -> list[str]:
        return [_bytes_to_text(row) for row in self.all_gather(_text_to_bytes(text))]

    def close(self) -> None:
        if dist.is_initialized():
            dist.destroy_process_group()


@contextmanager
def _naming(phase: str) -> Iterator[None]:
    """Turn a transport's failure into one that names the phase (and the rank, where the transport does)."""
    try:
        yield
    except RuntimeError as error:
        raise RankError(f"phase '{phase}': {str(error).splitlines()[0]}") from error


def _text_to_bytes(text: str) -> Tensor:
    """Text as a zero-padded uint8 tensor: control messages need no pickle."""
    return torch.tensor(list(text.encode().ljust(TEXT_BYTES, b"\0")), dtype=torch.uint8)


def _bytes_to_text(carrier: Tensor) -> str:
    return bytes(carrier.tolist()).rstrip(b"\0").decode()


def _boot_id() -> str:
    """Tells hosts of the same name apart, and containers that do not share /dev/shm."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()}/{os.stat('/dev/shm').st_dev}"
    except OSError:
        return ""
