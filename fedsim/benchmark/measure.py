"""One measurement: some work and its yardstick, in turn, so that a noisy machine disturbs both alike."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

import torch

Work = Callable[[], object]


class Duration(NamedTuple):
    """Seconds of one call: by the clock on the wall, and of CPU time over all threads of the process."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Reading:
    """What was measured of one name.

    Attributes:
        seconds: of each repetition of the work.
        yardstick: of each repetition of the yardstick, run in between.
        cpu_seconds: CPU time of each repetition of the work, over all threads.
        yardstick_cpu: the same of the yardstick.
        extra_bytes: the most memory that the work held at once beyond what was there before, if it can be measured;
            read at its second call, when modules are loaded and a history has begun.
        kept_bytes: what the work keeps from one call to the next, its history.
        figures: what else is known of it, by the heading of its column.
        problem: why there is no measurement.
    """

    name: str
    seconds: tuple[float, ...] = ()
    yardstick: tuple[float, ...] = ()
    cpu_seconds: tuple[float, ...] = ()
    yardstick_cpu: tuple[float, ...] = ()
    extra_bytes: int | None = None
    kept_bytes: int = 0
    figures: Mapping[str, float | None] = field(default_factory=dict)
    problem: str = ""

    @classmethod
    def of(cls, name: str, work: Sequence[Duration], yardstick: Sequence[Duration]) -> Reading:
        """The reading of the repetitions of both."""
        (wall, cpu), (yardstick_wall, yardstick_cpu) = (zip(*times, strict=True) for times in (work, yardstick))
        return cls(name, wall, yardstick_wall, cpu, yardstick_cpu)

    @property
    def ratio(self) -> float | None:
        """Median time of the work in medians of the yardstick.

        >>> Reading("a", seconds=(2.0, 4.0, 90.0), yardstick=(1.0, 2.0, 3.0)).ratio
        2.0
        """
        return _ratio(self.seconds, self.yardstick)

    @property
    def cpu_ratio(self) -> float | None:
        """The same in CPU time, which a busy machine disturbs less."""
        return _ratio(self.cpu_seconds, self.yardstick_cpu)

    def scaled(self, factor: float) -> Reading:
        """All times multiplied."""
        seconds, yardstick, cpu_seconds, yardstick_cpu = (
            tuple(factor * value for value in values)
            for values in (self.seconds, self.yardstick, self.cpu_seconds, self.yardstick_cpu)
        )
        return replace(
            self, seconds=seconds, yardstick=yardstick, cpu_seconds=cpu_seconds, yardstick_cpu=yardstick_cpu
        )

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "cpu_ratio": self.cpu_ratio}


def _ratio(times: Sequence[float], yardstick: Sequence[float]) -> float | None:
    return median(times) / median(yardstick) if times and median(yardstick) > 0 else None


def measure(
    name: str,
    work: Work,
    yardstick: Work,
    repeats: int,
    device: torch.device,
    kept: Callable[[], int] = lambda: 0,
) -> Reading:
    """The reading of ``work`` against ``yardstick``; an exception of the work becomes the reading's problem.

    Args:
        kept: bytes that the work keeps between calls, asked at the end.
    """
    try:
        work()
        extra = peak_extra_bytes(work, device)
    except Exception as error:  # one method that cannot run must not lose the others' readings
        return Reading(name, problem=f"{type(error).__name__}: {error}")
    yardstick()
    pairs = [(duration(yardstick, device), duration(work, device)) for _ in range(repeats)]
    reading = Reading.of(name, [pair[1] for pair in pairs], [pair[0] for pair in pairs])
    return replace(reading, extra_bytes=extra, kept_bytes=kept())


def tensor_bytes(state: object) -> int:
    """Bytes of all tensors in nested mappings and lists.

    >>> tensor_bytes({"rows": {3: torch.zeros(5)}, "rounds": 2, "moves": [torch.zeros(1)]})
    24
    """
    if isinstance(state, torch.Tensor):
        return state.nbytes
    parts = state.values() if isinstance(state, Mapping) else state if isinstance(state, list | tuple) else ()
    return sum(map(tensor_bytes, parts))


def duration(work: Work, device: torch.device) -> Duration:
    """Of one call, until the device has finished."""
    _finish(device)
    start, cpu = perf_counter(), process_time()
    work()
    _finish(device)
    return Duration(perf_counter() - start, process_time() - cpu)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_extra_bytes(work: Work, device: torch.device) -> int | None:
    """Run the work once; the most memory it held beyond what was held before.

    On a CPU the kernel's high-water mark of this process is reset and read, where Linux offers it.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)  # or memory that was freed but not given back would hide new memory
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        before = _status("VmRSS")
    except (OSError, KeyError):
        work()
        return None
    work()
    return max(0, _status("VmHWM") - before)


def _status(key: str) -> int:
    """A line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields[key].split()[0]) * 1024
