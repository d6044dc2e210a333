"""Being asked to stop: by SIGTERM (torchrun, SLURM), SIGUSR1 (SLURM, before the time limit), SIGHUP or Ctrl-C."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
"""SIGHUP is what a terminal sends when it is closed or its connection is lost."""

ONE_REQUEST = 1.0
"""Seconds within which several signals are one request."""

PR_SET_PDEATHSIG = 1


FOLLOW_LAUNCHER = "FEDSIM_FOLLOWS_ITS_LAUNCHER"
"""Set in the environment of a process that is to stop when the one that started it dies."""


def stop_with_the_launcher() -> None:
    """Under torchrun or a sweep, be sent SIGTERM when it dies: it cannot stop its ranks when it is killed (Linux)."""
    if "TORCHELASTIC_RUN_ID" in os.environ or FOLLOW_LAUNCHER in os.environ:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def is_ignored(number: signal.Signals) -> bool:
    """Whether the process was started to ignore a signal, as nohup does with SIGHUP."""
    return signal.getsignal(number) == signal.SIG_IGN


class StopRequest:
    """Remembers that a signal has come, so that the run can stop where nothing is lost.

    A second signal ends the process at once, with the status 128 + its number. Signals within a second count as
    one, because SLURM and torchrun both pass the same one on.

    >>> stop = StopRequest()
    >>> with stop.listening():
    ...     os.kill(os.getpid(), signal.SIGUSR1)
    >>> stop.received
    True
    """

    def __init__(self) -> None:
        self._first: float | None = None

    @property
    def received(self) -> bool:
        """Whether a signal has come."""
        return self._first is not None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals during the block, but for a SIGHUP that nohup has the process ignore.

        Only a process's main thread can.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [number for number in SIGNALS if not (number == signal.SIGHUP and is_ignored(number))]
        before = {number: signal.signal(number, self._remember) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _remember(self, number: int, frame: object) -> None:
        now = monotonic()
        if self._first is not None and now - self._first > ONE_REQUEST:
            os._exit(128 + number)
        self._first = self._first or now
