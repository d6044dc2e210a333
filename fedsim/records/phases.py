"""How long each phase of a round takes, and which one is going on, for messages about a rank that fails."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter


class Phases:
    """Seconds per phase of the present round.

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

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time the block."""
        started, self._current = perf_counter(), f"phase '{name}'"
        self._report(self._current)
        yield
        self._seconds[name] = self._seconds.get(name, 0.0) + perf_counter() - started

    def at(self, where: str) -> None:
        """Say where in the present phase this rank is."""
        self._report(f"{self._current}, {where}")

    def finish_round(self) -> dict[str, float]:
        """Seconds per phase since the last call."""
        seconds, self._seconds = self._seconds, {}
        return seconds
