"""What a command costs with all processes that it starts: wall time, CPU time, memory."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep

from fedsim.benchmark.measure import Duration

LOOK_EVERY = 0.25
"""Seconds. Looking costs some milliseconds."""


@dataclass(frozen=True)
class Cost:
    """Of a whole command.

    Attributes:
        duration: CPU time is that of all processes.
        peak_bytes: the most memory that they held at once; what several share counts once, where the system says.
        status: its exit status.
    """

    duration: Duration
    peak_bytes: int
    status: int


def run_and_watch(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Cost:
    """Run the command to its end; what it says goes to ``log``.

    The system adds up the CPU time of processes that were waited for by those that started them. Not all are, as with
    Ray, so that they are also looked at while they live; the larger sum counts.
    """
    before, start = _cpu_of_children(), perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        seen: dict[int, float] = {}
        peak = 0
        try:
            while process.poll() is None:
                peak = max(peak, _look_at(process.pid, seen))
                sleep(LOOK_EVERY)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    wall = perf_counter() - start
    cpu = max(_cpu_of_children() - before, sum(seen.values()))
    return Cost(Duration(wall, cpu), peak, process.returncode)


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _look_at(pid: int, seen: dict[int, float]) -> int:
    """Note the CPU seconds of each process of the tree in ``seen``; the memory that they hold together."""
    import psutil  # of the extra "peers"

    held = 0
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.Error):
                times = process.cpu_times()
                seen[process.pid] = times.user + times.system
                memory = process.memory_full_info()
                held += getattr(memory, "pss", memory.uss)
    return held
