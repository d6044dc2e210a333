"""One measurement: some work and its yardstick, in turn, so that a noisy machine disturbs both alike."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

Work = Callable[[], object]


@dataclass(frozen=True)
class Reading:
    """What was measured of one name.

    Attributes:
        seconds: of each repetition of the work.
        yardstick: of each repetition of the yardstick, run in between.
        extra_bytes: the most memory that the work held at once beyond what was there before, if it can be measured;
            read at its second call, when modules are loaded and a history has begun.
        kept_bytes: what the work keeps from one call to the next, its history.
        problem: why there is no measurement.
    """

    name: str
    seconds: tuple[float, ...] = ()
    yardstick: tuple[float, ...] = ()
    extra_bytes: int | None = None
    kept_bytes: int = 0
    problem: str = ""

    @property
    def ratio(self) -> float | None:
        """Median time of the work in medians of the yardstick.

        >>> Reading("a", seconds=(2.0, 4.0, 90.0), yardstick=(1.0, 2.0, 3.0)).ratio
        2.0
        """
        return median(self.seconds) / median(self.yardstick) if self.seconds else None

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio}


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
    pairs = [(seconds(yardstick, device), seconds(work, device)) for _ in range(repeats)]
    return Reading(name, tuple(pair[1] for pair in pairs), tuple(pair[0] for pair in pairs), extra, kept())


def tensor_bytes(state: object) -> int:
    """Bytes of all tensors in nested mappings and lists.

    >>> tensor_bytes({"rows": {3: torch.zeros(5)}, "rounds": 2, "moves": [torch.zeros(1)]})
    24
    """
    if isinstance(state, torch.Tensor):
        return state.nbytes
    parts = state.values() if isinstance(state, Mapping) else state if isinstance(state, list | tuple) else ()
    return sum(map(tensor_bytes, parts))


def seconds(work: Work, device: torch.device) -> float:
    """Wall time of one call, until the device has finished."""
    _finish(device)
    start = perf_counter()
    work()
    _finish(device)
    return perf_counter() - start


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
