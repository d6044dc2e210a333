"""The broadcast of a step to every rank, against copying it there and against ``dist.broadcast``."""

from __future__ import annotations

import torch
import torch.distributed as dist

from fedsim.benchmark.between_ranks import in_turn
from fedsim.benchmark.measure import Reading
from fedsim.comm import Communicator


def time_broadcast(comm: Communicator, columns: int, repeats: int) -> list[Reading]:
    """Readings of fedsim's broadcast and of ``dist.broadcast`` over gloo, both in copies of the step on rank 0.

    The clock of rank 0 runs from a barrier, when it has the step [D] on its device, until all ranks have theirs.

    Raises:
        AssertionError: what arrived is not what was sent.
    """
    comm.open_rows(1, columns)  # as in a run: a step may travel through the memory in which rows are gathered
    step = torch.full((columns,), float(comm.rank), device=comm.device)
    on_host, copied = step.cpu(), torch.empty_like(step)

    def ours() -> None:
        comm.broadcast(step)

    def library() -> None:
        on_host.copy_(step)
        if comm.size > 1:
            dist.broadcast(on_host, 0)
        step.copy_(on_host)

    def copy() -> None:
        copied.copy_(step)

    works = {"fedsim": ours, "dist.broadcast": library, "copy": copy}
    for work in works.values():
        work()
        assert not step.any(), "the step that arrived is not that of rank 0"
    times = in_turn(comm, works, repeats, comm.device, until_all=True)
    return [Reading.of(name, times[name], times["copy"]) for name in ("fedsim", "dist.broadcast")]
