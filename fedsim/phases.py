"""How long each phase of a round takes, and which one is going on (for the last words of a rank)."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Phases:
    """Seconds per phase of the present round.

    >>> phases = Phases()
    >>> with phases("gather"):
    ...     phases.current
    'gather'
    >>> list(phases.finish_round())
    ['gather']
    """

    def __init__(self) -> None:
        self.current = "start"
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time the block; the phase stays current if the block raises."""
        started, self.current = perf_counter(), name
        yield
        self._seconds[name] = self._seconds.get(name, 0.0) + perf_counter() - started

    def finish_round(self) -> dict[str, float]:
        """Seconds per phase since the last call."""
        seconds, self._seconds = self._seconds, {}
        return seconds
