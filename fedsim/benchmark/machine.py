"""Where a benchmark runs: the facts that speed depends on, and how busy others keep the machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

import torch

from fedsim.machine import processor

SAMPLE_SECONDS = 0.5

BUSY = "FEDSIM_BENCHMARK_BUSY"
"""Variable in which ranks find what was found before they started."""

TOLERATED = 0.25
"""Cores that others may use: what a quiet machine does beside."""


@dataclass(frozen=True)
class Conditions:
    """What was typed, and where it runs.

    Attributes:
        machine: of :func:`machine`, before anything is measured.
    """

    command: str
    machine: dict[str, Any]


def machine() -> dict[str, Any]:
    """The facts that speed depends on, in words, too; ``warning`` says how busy the machine is, if it is."""
    cpu, cores, threads = processor(), os.cpu_count() or 1, torch.get_num_threads()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    load, used = _busy_at_start()
    parts = [
        f"{cores} CPU cores ({cpu})",
        gpu or "no GPU",
        f"{threads} thread{'s' * (threads > 1)}",
        f"torch {torch.__version__}",
        platform.system(),
        f"load {load:.1f} at the start",
    ]
    return {
        "words": ", ".join(parts),
        "cpu": cpu,
        "cores": cores,
        "gpu": gpu,
        "threads": threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load": load,
        "used": used,
        "warning": busy_warning(used, cores, threads),
    }


def note_for_ranks(found: Mapping[str, Any]) -> None:
    """Leave what was found for ranks that are about to start, each of which would see the others start."""
    os.environ[BUSY] = f"{found['load']} {found['used']}"


def _busy_at_start() -> tuple[float, float]:
    """The load average, and how many cores others keep busy.

    The load average remembers what ran a minute ago, be it another benchmark, and a short look sees what is only
    starting: a core counts as busy if both say so.
    """
    if BUSY in os.environ:
        load, used = map(float, os.environ[BUSY].split())
        return load, used
    load = os.getloadavg()[0]
    return load, min(load, cores_in_use(load))


def busy_warning(used: float, cores: int, threads: int) -> str:
    """A sentence if the threads of a benchmark have no cores of their own; else nothing.

    Args:
        used: cores that other processes keep busy.

    >>> busy_warning(0.1, 2, 2), busy_warning(1.1, 4, 2)
    ('', '')
    >>> busy_warning(1.5, 2, 1)
    'The machine was busy: other processes used 1.5 of 2 cores at the start. Measure again when it is quiet.'
    """
    if used + threads <= cores + TOLERATED:
        return ""
    use = f"other processes used {used:.1f} of {cores} cores at the start"
    return f"The machine was busy: {use}. Measure again when it is quiet."


def cores_in_use(otherwise: float) -> float:
    """How many cores are busy while this process sleeps.

    Args:
        otherwise: the answer where the system does not say.
    """
    before = _ticks()
    sleep(SAMPLE_SECONDS)
    after = _ticks()
    if before is None or after is None or after[1] == before[1]:
        return otherwise
    return (os.cpu_count() or 1) * (after[0] - before[0]) / (after[1] - before[1])


def _ticks() -> tuple[int, int] | None:
    """Clock ticks of all cores together since the system started: at work, and altogether."""
    try:
        line = Path("/proc/stat").read_text().splitlines()[0]
    except OSError:  # macOS
        return None
    user, nice, system, idle, waiting, *others = map(int, line.split()[1:9])
    busy = user + nice + system + sum(others)
    return busy, busy + idle + waiting
