"""What is done when a run fails: the first rank to know reports it, and every rank leaves."""

import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep

from fedsim.comm import Monitor, RankPlace, RankStatus
from fedsim.comm.health.rank_status import killed_by
from fedsim.errors import CollectiveError, ConfigError, FedsimWarning, RankError
from fedsim.failures import messages
from fedsim.failures.gpu_errors import of_gpu
from fedsim.records.logs import FILE_ONLY, write_line
from fedsim.records.summary import SummaryFile
from fedsim.run_directory.failure_note import record_failure
from fedsim.standard_streams import ERROR
from fedsim.stop_request import SIGNALS

log = logging.getLogger(__name__)

WAIT_FOR_RANK_0 = 30.0
"""Seconds for which a rank waits for rank 0 to report what both know."""

WAIT_FOR_MONITOR = 2.0
"""Seconds in which the monitor finds out which rank has ended when a collective fails."""

FAILED, MISTAKE = 1, 2

EXIT_STATUS = {"completed": 0, "diverged": 3, "interrupted": 75}
"""75 is what sendmail and schedulers mean by it: a temporary failure, try again."""


@contextmanager
def warnings_as_lines(notes: Sequence[str], *, speaks: bool) -> Iterator[None]:
    """Show notes and fedsim's warnings from the block as single lines, on the rank that speaks."""
    for note in notes if speaks else ():
        write_line(ERROR, note)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FedsimWarning)
        yield
    for warning in caught if speaks else ():
        write_line(ERROR, f"warning: {warning.message}")


class FailureHandler:
    """Reports why the run fails, once, and ends this rank.

    The ranks that fail, those that see others end, and those that see them wait all come here; the first to record
    its sentence in the run directory reports it, and the others leave in silence.

    Args:
        terminal: descriptor of the terminal.
    """

    def __init__(self, terminal: int) -> None:
        self._terminal, self._place = terminal, RankPlace(0, 1, 0, 1)
        self._close_records: Callable[[str], None] = lambda status: None
        self._monitor: Monitor | None = None
        self._directory: Path | None = None
        self._summary: SummaryFile | None = None
        self._ending = threading.Lock()

    def rank_is_known(self, place: RankPlace) -> None:
        """This process knows its rank."""
        self._place = place

    def ranks_are_connected(self, monitor: Monitor) -> None:
        """From now on this rank knows of the others."""
        self._monitor = monitor

    def directory_is_known(self, directory: Path) -> None:
        """From now on this rank knows where the run is recorded."""
        self._directory, self._summary = directory, SummaryFile(directory)

    def records_are_open(self, close: Callable[[str], None]) -> None:
        """From now on there are records to close, by a function that takes the status of the run."""
        self._close_records = close

    def run_ends_early(self, status: str, done: int, divergence: str | None) -> None:
        """The run was stopped, or diverged, after so many rounds."""
        sentence = messages.early_end(status, done, divergence, self._directory)
        log.warning("%s", sentence, extra=FILE_ONLY)
        write_line(self._terminal, sentence)

    # Failures of this rank ---------------------------------------------------------------------------

    def handle(self, error: BaseException) -> int:
        """This rank cannot go on: the exit status, where there is no other rank."""
        if isinstance(error, KeyboardInterrupt):
            with suppress(Exception):
                self._close_records("interrupted")
            return 130
        if isinstance(error, SystemExit):
            error = messages.exit_called(error)
        if self._monitor is None:
            return self._handle_at_start(error)
        if isinstance(error, ConfigError):
            return self._end(messages.mistake(error), MISTAKE)
        if self._directory is not None:
            log.error("what happened:", exc_info=error, extra=FILE_ONLY)
        if isinstance(error, RankError) and self._place.rank != 0:
            sleep(WAIT_FOR_RANK_0)  # it knows more
        elif isinstance(error, CollectiveError):
            sleep(WAIT_FOR_MONITOR)
        if isinstance(error, RankError) and not isinstance(error, CollectiveError):
            return self._end(str(error))
        return self._end(messages.failed(self._monitor.me, error, self._directory))

    def _handle_at_start(self, error: BaseException) -> int:
        """A mistake in the configuration is found by every rank: rank 0 reports it, torchrun then ends the others.

        One that is still there after a while is on a host of its own with the mistake and reports it.
        """
        if isinstance(error, ConfigError):
            if self._place.rank != 0:
                sleep(WAIT_FOR_RANK_0)
            write_line(self._terminal, messages.mistake(error))
            return MISTAKE
        if self._place.rank == 0 and of_gpu(error) is None and not messages.place_in_a_plugin(error):
            traceback.print_exception(error)
        write_line(self._terminal, messages.failed_at_start(self._place.rank, error))
        return self._leave(FAILED)

    # Failures of other ranks, as the monitor sees them -----------------------------------------------

    def on_death(self, rank: RankStatus, why: str) -> None:
        """Another rank's process has ended; by a signal to stop only while it starts, for later it handles them."""
        if any(why == killed_by(number) for number in SIGNALS):
            status = EXIT_STATUS["interrupted"]
            self._end(messages.STOPPED_AT_START, status, because_of=[rank], outcome="interrupted")
        self._end(messages.died(rank, why), because_of=[rank])

    def on_silence(self, me: RankStatus, rank: RankStatus) -> None:
        """The host of another rank does not answer; both sides see that, and the one with rank 0 reports it."""
        if me.rank != 0:
            sleep(WAIT_FOR_RANK_0)
        self._end(messages.silent(me, rank), because_of=[rank])

    def on_leaving(self, rank: RankStatus, reason: str) -> None:
        """Another rank fails, and has reported it."""
        self._end(reason, reported=self._directory is None)

    def on_late(self, me: RankStatus, ranks: Sequence[RankStatus], seconds: float) -> None:
        """Other ranks have not come to the collective in which this one waits."""
        self._end(messages.late(me, ranks, seconds), because_of=ranks)

    # The end -----------------------------------------------------------------------------------------

    def _end(
        self,
        sentence: str,
        status: int = FAILED,
        because_of: Sequence[RankStatus] = (),
        outcome: str = "failed",
        *,
        reported: bool = False,
    ) -> int:
        """Report, close the records and leave; the first of this rank's threads to come here does it."""
        self._ending.acquire()
        if not reported and (self._directory is None or record_failure(self._directory, sentence)):
            write_line(self._terminal, sentence)
        if self._directory is not None:
            log.error("%s", sentence, extra=FILE_ONLY)
        if self._monitor is not None:
            self._monitor.leave(sentence)
        with suppress(Exception):
            self._close_records(outcome)
            if self._summary is not None and any(rank.rank == 0 for rank in because_of):
                self._summary.close(outcome)  # in the place of rank 0
        for rank in because_of:
            if rank.trouble():  # stopped, it would keep torchrun waiting
                with suppress(OSError):
                    os.kill(rank.pid, signal.SIGKILL)
        return self._leave(status)

    def _leave(self, status: int) -> int:
        """Without closing the transport: other ranks may have ended, and waiting for them would hide the message."""
        if self._place.size == 1:
            return status
        sys.stdout.flush()
        os._exit(status)
