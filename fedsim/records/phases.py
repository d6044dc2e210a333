"""How long each phase of a round takes, and which one is going on, for messages about a rank that fails."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter, process_time


class Phases:
    """Seconds per phase of the present round.

    Attributes:
        cpu_seconds: CPU time of each phase of the last finished round, over all threads of this rank.

    Args:
        report: is given the phase that begins, in words.

    >>> reported = []
    >>> phases = Phases(reported.append)
    >>> with phases("local_work"):
    ...     phases.at("client 5")
    >>> reported
    ["phase 'local_work'", "phase 'local_work', client 5"]
    >>> list(phases.finish_round())
    ['local_work']
    """

    def __init__(self, report: Callable[[str], None] = lambda activity: None) -> None:
        self._report, self._current = report, ""
        self._seconds: dict[str, float] = {}
        self._cpu: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time the block."""
        started, cpu, self._current = perf_counter(), process_time(), f"phase '{name}'"
        self._report(self._current)
        yield
        self._seconds[name] = self._seconds.get(name, 0.0) + perf_counter() - started
        self._cpu[name] = self._cpu.get(name, 0.0) + process_time() - cpu

    def at(self, where: str) -> None:
        """Say where in the present phase this rank is."""
        self._report(f"{self._current}, {where}")

    def finish_round(self) -> dict[str, float]:
        """Seconds per phase since the last call."""
        seconds, self._seconds = self._seconds, {}
        self.cpu_seconds, self._cpu = self._cpu, {}
        return seconds
