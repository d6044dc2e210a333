"""Work that several ranks do together, timed on rank 0."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter, process_time

import torch

from fedsim.benchmark.measure import Duration
from fedsim.comm import Communicator

RankWork = Callable[[], object]


def duration_on_ranks(comm: Communicator, work: RankWork, device: torch.device, *, until_all: bool) -> Duration:
    """Of one call on every rank, from a barrier until this rank, or the last, has its result.

    CPU time is that of all ranks together, without the barriers.
    """
    comm.barrier("benchmark")
    start, cpu = perf_counter(), process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    wall, cpu = perf_counter() - start, process_time() - cpu
    if until_all:
        comm.barrier("benchmark")
        wall = perf_counter() - start
    return Duration(wall, float(comm.all_gather(torch.tensor(cpu, dtype=torch.float64)).sum()))


def in_turn(
    comm: Communicator, works: Mapping[str, RankWork], repeats: int, device: torch.device, *, until_all: bool
) -> dict[str, list[Duration]]:
    """The durations of each work, repeated in turn."""
    times: dict[str, list[Duration]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            times[name].append(duration_on_ranks(comm, work, device, until_all=until_all))
    return times
