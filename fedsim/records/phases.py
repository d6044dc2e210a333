"""How long each phase of a round takes, and which one is going on (for the last words of a rank)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter


class Phases:
    """Seconds per phase of the present round.

    Args:
        tell: is told the phase that begins, in words.

    >>> told = []
    >>> phases = Phases(told.append)
    >>> with phases("local_work"):
    ...     phases.at("client 5")
    >>> told
    ["phase 'local_work'", "phase 'local_work', client 5"]
    >>> list(phases.finish_round())
    ['local_work']
    """

    def __init__(self, tell: Callable[[str], None] = lambda activity: None) -> None:
        self._tell, self._current = tell, ""
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time the block."""
        started, self._current = perf_counter(), f"phase '{name}'"
        self._tell(self._current)
        yield
        self._seconds[name] = self._seconds.get(name, 0.0) + perf_counter() - started

    def at(self, where: str) -> None:
        """Say where in the present phase this rank is."""
        self._tell(f"{self._current}, {where}")

    def finish_round(self) -> dict[str, float]:
        """Seconds per phase since the last call."""
        seconds, self._seconds = self._seconds, {}
        return seconds
