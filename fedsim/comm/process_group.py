"""The communicator over torch.distributed: gloo for control, NCCL for rows where each rank has its own GPU."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from fedsim.comm.addresses import advice, settle_addresses
from fedsim.comm.communicator import Communicator, SingleProcess
from fedsim.comm.devices import RankDevice, each_has_its_own, require_one_kind
from fedsim.comm.health.connections import connect_ranks
from fedsim.comm.health.monitor import Monitor, RankFailureHandler
from fedsim.comm.health.rank_status import RankStatus
from fedsim.comm.place import RankPlace
from fedsim.comm.rows import ExchangedColumns, LocalRows, PointToPointRows, RowTransport, SharedRows
from fedsim.comm.shared_memory import map_file, reserved_file
from fedsim.comm.transport_errors import telling_lines
from fedsim.errors import CollectiveError, ConfigError
from fedsim.machine import boot_id

log = logging.getLogger(__name__)

TEXT_BYTES = 4096

LARGE_STEP = 1 << 20
"""Parameters from which on a step goes through shared memory: below, two barriers take as long as gloo."""

GLOO_TIMEOUT_FACTOR = 20
"""How many times longer gloo waits where the ranks monitor each other."""


def open_communicator(
    place: RankPlace, device: torch.device, timeout: float, handler: RankFailureHandler | None = None
) -> Communicator:
    """The communicator for this place: a single process, or a process group over all ranks.

    Args:
        timeout: seconds that ranks wait for each other.
        handler: what is done about a rank that is gone or late; without one, the others fail where they wait for it.
    """
    return SingleProcess(device) if place.size == 1 else ProcessGroup(place, device, timeout, handler)


class ProcessGroup(Communicator):
    """All ranks of a torchrun, over gloo, and NCCL for rows if no two ranks share a GPU."""

    def __init__(
        self, place: RankPlace, device: torch.device, timeout: float, handler: RankFailureHandler | None = None
    ) -> None:
        self._timeout = timedelta(seconds=timeout)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        settle_addresses(place)
        _leave_out_checks_of_torch(speaks=place.rank == 0)
        try:
            dist.init_process_group("gloo", timeout=self._timeout, **_store_of_this_attempt(place, self._timeout))
        except RuntimeError as error:
            what = f"the ranks cannot connect: {telling_lines(error)}; {advice(place)}"
            raise CollectiveError(what) from error
        self._control: dist.ProcessGroup | None = None  # the default group, which is gloo
        self._nccl: dist.ProcessGroup | None = None
        self._uses_nccl = False
        self._carrier: Tensor | None = None
        """Shared memory for a step on its way to the other ranks, if rows travel through it."""
        super().__init__(place, device, torch.device("cpu"))
        if handler is not None:
            self._open_monitor(handler, timeout)
        self.devices = [RankDevice.from_text(text) for text in self._gather_text(self.devices[0].to_text())]
        try:
            require_one_kind(self.devices)
        except ConfigError:  # all ranks raise it, so nobody waits for them
            self.close()
            raise
        self._one_host = len(set(self._gather_text(_reach_of_shared_memory()))) == 1
        self._uses_nccl = each_has_its_own(self.devices)  # else rows go over the CPU
        if self._uses_nccl:
            self.row_device = device

    def _open_monitor(self, handler: RankFailureHandler, timeout: float) -> None:
        """Let the ranks monitor each other, if all can; gloo's own time-out, which names no rank, is then put off."""
        texts = self._gather_text(self.monitor.me.to_text())
        everyone = {rank: RankStatus.from_text(text) for rank, text in enumerate(texts)}
        connections = connect_ranks(self.rank, self.size, self.share_text)
        complete = len(connections) == (self.size - 1 if self.rank == 0 else 1)
        if self.all_gather(torch.tensor(complete)).all():
            self._timeout *= GLOO_TIMEOUT_FACTOR
            self._control = _a_group(dist.new_group(backend="gloo", timeout=self._timeout))
            self.monitor = Monitor(self.rank, everyone, connections, handler, patience=timeout)
            return
        for connection in connections.values():
            connection.close()
        self.monitor = Monitor(self.rank, everyone)
        if self.rank == 0:
            log.warning("ranks cannot connect to rank 0: one that dies is noticed only where others wait for it")

    @property
    def description(self) -> str:
        if self._uses_nccl:
            return "NCCL"
        return "shared memory of one host" if self._one_host else "gloo, point to point"

    @property
    def shares_memory(self) -> bool:
        return self._one_host and not self._uses_nccl

    def open_rows(
        self, slots: int, columns: int, ranges: Sequence[Sequence[tuple[int, int]]] | None = None
    ) -> RowTransport:
        if columns == 0:
            return LocalRows(slots, 0, self.row_device)
        if self.shares_memory:
            matrix = self._open_shared(slots + 1, columns) if columns >= LARGE_STEP else None
            self._carrier = None if matrix is None else matrix[slots]
            matrix = self._open_shared(slots, columns) if matrix is None else matrix[:slots]
            if matrix is not None:
                return SharedRows(matrix, self.rank, lambda: self.barrier("gather"), to_all=ranges is not None)
            if self.rank == 0:
                log.warning(
                    "no room for %d x %d values in shared memory that all ranks can map: rows go point to point",
                    slots,
                    columns,
                )
        group = self._connect_gpus() if self._uses_nccl else None
        if ranges is not None:
            return ExchangedColumns(slots, columns, self.rank, self.row_device, ranges, self._gathering, group)
        return PointToPointRows(slots, columns, self.rank, self.row_device, self._gathering, group)

    def _connect_gpus(self) -> dist.ProcessGroup:
        """The group of NCCL. Given its device, NCCL connects at once, and says at once what it lacks."""
        if self._nccl is None:
            self.barrier("connect GPUs")
            with self._collective("connect GPUs"):
                group = dist.new_group(backend="nccl", timeout=self._timeout, device_id=self.device)
            self._nccl = _a_group(group)
        return self._nccl

    @contextmanager
    def _gathering(self) -> Iterator[None]:
        """Around the sends of a gather, which begin when all ranks have come."""
        self.barrier("gather")
        with self._collective("gather"):
            yield

    def _open_shared(self, slots: int, columns: int) -> Tensor | None:
        """The matrix that all ranks map, or None if one of them cannot."""
        with reserved_file(slots * columns) if self.rank == 0 else nullcontext("") as own:
            address = self.share_text(own)
            matrix = map_file(address, slots, columns) if address else None
            mapped = self.all_gather(torch.tensor(matrix is not None))
        return matrix if bool(mapped.all()) else None

    def barrier(self, phase: str) -> None:
        with self._collective(phase):
            dist.monitored_barrier(self._control, timeout=self._timeout, wait_all_ranks=True)

    def broadcast(self, tensor: Tensor) -> None:
        self._broadcast_from(0, tensor)

    def complete(self, vector: Tensor, ranges: Sequence[Sequence[tuple[int, int]]]) -> None:
        if self._carrier is not None and vector.shape == self._carrier.shape:
            self._pass_through(self._carrier, vector, ranges)
            return
        for rank, of_rank in enumerate(ranges):
            for start, stop in of_rank:
                self._broadcast_from(rank, vector[start:stop])

    def _broadcast_from(self, source: int, tensor: Tensor) -> None:
        if tensor.numel() == 0:
            return
        if tensor.device.type == "cuda" and self._uses_nccl:
            group = self._connect_gpus()
            self.barrier("broadcast")  # NCCL returns at once: here a rank is noticed that is late or gone
            with self._collective("broadcast"):
                dist.broadcast(tensor, source, group=group)
        elif self._carrier is not None and tensor.shape == self._carrier.shape and tensor.dtype == torch.float32:
            self._pass_through(self._carrier, tensor, [[]] * source + [[(0, len(tensor))]])
        else:
            carrier = tensor.cpu()
            with self._collective("broadcast"):
                dist.broadcast(carrier, source, group=self._control)
            if carrier is not tensor:
                tensor.copy_(carrier)

    def _pass_through(self, shared: Tensor, vector: Tensor, ranges: Sequence[Sequence[tuple[int, int]]]) -> None:
        """By shared memory: each rank writes what it has, and reads what others have, between two barriers."""
        for start, stop in ranges[self.rank] if self.rank < len(ranges) else ():
            shared[start:stop] = vector[start:stop]
        self.barrier("broadcast")
        for rank, of_rank in enumerate(ranges):
            for start, stop in of_rank if rank != self.rank else ():
                vector[start:stop] = shared[start:stop]
        self.barrier("broadcast")

    def gather(self, values: Tensor) -> list[Tensor]:
        own = values.cpu()
        lengths = self.all_gather(torch.tensor(len(own))).tolist()
        padded = own.new_zeros(max(lengths), *own.shape[1:])
        padded[: len(own)] = own
        gathered = self.all_gather(padded) if max(lengths) else padded.expand(self.size, *padded.shape)
        return [part[:length].to(values.device) for part, length in zip(gathered, lengths, strict=True)]

    def all_gather(self, tensor: Tensor) -> Tensor:
        assert tensor.device.type == "cpu"
        gathered = [torch.empty_like(tensor) for _ in range(self.size)]
        with self._collective("exchange"):
            dist.all_gather(gathered, tensor, group=self._control)
        return torch.stack(gathered)

    def share_text(self, text: str) -> str:
        carrier = _text_to_bytes(text)
        self.broadcast(carrier)
        return _bytes_to_text(carrier)

    def _gather_text(self, text: str) -> list[str]:
        return [_bytes_to_text(row) for row in self.all_gather(_text_to_bytes(text))]

    @contextmanager
    def _collective(self, phase: str) -> Iterator[None]:
        """Where ranks wait for each other: a transport's failure becomes one that names the phase."""
        try:
            with self.monitor.collective():
                yield
        except (torch.OutOfMemoryError, torch.AcceleratorError):  # of this rank's own GPU
            raise
        except RuntimeError as error:
            raise CollectiveError(f"phase '{phase}': {telling_lines(error)}") from error

    def close(self) -> None:
        self.monitor.close()
        if dist.is_initialized():
            dist.destroy_process_group()


def _store_of_this_attempt(place: RankPlace, timeout: timedelta) -> dict[str, Any]:
    """After ``torchrun --max-restarts`` has started the ranks of one host again: a part of its store of their own.

    The attempts share one store, where gloo would find the addresses of the ranks that died.
    """
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if attempt == "0" or not shared or place.local_size < place.size:
        return {}
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, is_master=False, timeout=timeout)  # type: ignore[attr-defined]
    own = dist.PrefixStore(f"attempt {attempt}", store)  # type: ignore[attr-defined]
    return {"store": own, "rank": place.rank, "world_size": place.size}


def _leave_out_checks_of_torch(*, speaks: bool) -> None:
    """``TORCH_DISTRIBUTED_DEBUG=DETAIL`` compares each rank's collectives, and takes our barriers for a mismatch."""
    if dist.get_debug_level() != dist.DebugLevel.DETAIL:  # type: ignore[attr-defined]
        return
    dist.set_debug_level(dist.DebugLevel.INFO)  # type: ignore[attr-defined]
    if speaks:
        log.warning("TORCH_DISTRIBUTED_DEBUG=DETAIL counts as INFO: it takes our barriers for errors")


def _a_group(group: object) -> dist.ProcessGroup:
    assert isinstance(group, dist.ProcessGroup)
    return group


def _text_to_bytes(text: str) -> Tensor:
    """Text as a zero-padded uint8 tensor: control messages need no pickle."""
    return torch.tensor(list(text.encode("utf-8", "surrogatepass").ljust(TEXT_BYTES, b"\0")), dtype=torch.uint8)


def _bytes_to_text(carrier: Tensor) -> str:
    return bytes(carrier.tolist()).rstrip(b"\0").decode("utf-8", "surrogatepass")


def _reach_of_shared_memory() -> str:
    """The same for ranks that share /dev/shm: not for hosts of one name, nor for containers of one host."""
    try:
        return f"{socket.gethostname()}/{boot_id()}/{os.stat('/dev/shm').st_dev}"
    except OSError:
        return socket.gethostname()
