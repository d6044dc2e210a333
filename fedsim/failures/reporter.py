"""How a run ends when something goes wrong: one clear sentence, whichever rank finds out first."""

import errno
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

from fedsim.comm import RankPlace, Standing, Watch
from fedsim.comm.health.rank_status import killed_by
from fedsim.errors import ConfigError, FedsimError, FedsimWarning, MeetingError, RankError
from fedsim.records.logs import FILE_ONLY, last_words
from fedsim.records.summary import SummaryFile
from fedsim.run_directory.failure_note import first_to_note
from fedsim.stop_request import SIGNALS

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds for which a rank waits for rank 0 to say what both know."""

A_MOMENT = 2.0
"""Seconds in which the watch finds out who is gone when ranks cannot meet."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

STANDARD_ERROR = 2
FAILED, MISTAKE = 1, 2

EXIT_STATUS = {"completed": 0, "diverged": 3, "interrupted": 75}
"""75 is what sendmail and schedulers mean by it: a temporary failure, try again."""


def early_end(status: str, done: int) -> str:
    """What is said at the end of a run that did not complete."""
    if status == "interrupted":
        return f"stopped by a signal after round {done}, nothing is lost: --resume continues"
    return (
        f"diverged: after round {done} the global model is not finite; the newest checkpoint is from before "
        "(a smaller learning rate, or runtime.on_divergence: continue)"
    )


@contextmanager
def one_message_per_run(notes: Sequence[str], *, speaks: bool) -> Iterator[None]:
    """Show notes and fedsim's warnings from the block as single lines, on the rank that speaks."""
    for note in notes if speaks else ():
        last_words(STANDARD_ERROR, note)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FedsimWarning)
        yield
    for warning in caught if speaks else ():
        last_words(STANDARD_ERROR, f"warning: {warning.message}")


class LastWords:
    """Says why the run fails, once, and ends this rank.

    The ranks that fail, those that see others go, and those that see them wait all come here; the first to note
    its sentence in the run directory says it, and the others leave in silence.

    Args:
        terminal: where to speak.

    Attributes:
        place: this rank.
        close_records: closes what this rank records, given the status of the run.
    """

    def __init__(self, terminal: int) -> None:
        self._terminal, self.place = terminal, RankPlace(0, 1, 0, 1)
        self.close_records: Callable[[str], None] = lambda status: None
        self._watch: Watch | None = None
        self._directory: Path | None = None
        self._summary: SummaryFile | None = None
        self._ending = threading.Lock()

    def ranks_have_met(self, watch: Watch, directory: Path) -> None:
        """From now on this rank knows of the others, and where the run is noted."""
        self._watch, self._directory = watch, directory
        self._summary = SummaryFile(directory)

    def after(self, error: BaseException) -> int:
        """This rank cannot go on: the exit status, where there is nobody to part from."""
        if isinstance(error, KeyboardInterrupt | SystemExit):
            with suppress(Exception):
                self.close_records("interrupted")
            return 130 if isinstance(error, KeyboardInterrupt) else FAILED
        if self._watch is None:
            return self._before_the_ranks_met(error)
        if isinstance(error, ConfigError):
            return self._end(f"configuration error: {error}", MISTAKE)
        me, what = self._watch.me, str(error)
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            what = f"no room is left for {self._directory} ({error}): make room, then --resume"
        elif not isinstance(error, FedsimError):
            what = f"{type(error).__name__}: {error}"
        log.error("what happened:", exc_info=error, extra=FILE_ONLY)
        if isinstance(error, RankError) and self.place.rank != 0:
            sleep(PATIENCE)  # for rank 0, which knows more
        elif isinstance(error, MeetingError):
            sleep(A_MOMENT)  # for the watch, which tells who is gone
        if isinstance(error, RankError) and not isinstance(error, MeetingError):
            return self._end(what)
        log_file = f"(traceback in logs/rank_{self.place.rank}.log)"
        return self._end(f"{me} failed in {me.activity}: {what} {log_file}")

    def gone(self, rank: Standing, why: str) -> None:
        """Another rank's process has ended; if by a signal to stop, it was starting, for later it listens to them."""
        if any(why == killed_by(number) for number in SIGNALS):
            sentence = "stopped by a signal before the first round, nothing is lost: --resume continues"
            self._end(sentence, EXIT_STATUS["interrupted"], because_of=[rank], outcome="interrupted")
        self._end(f"{rank} died in {rank.activity}: {why}", because_of=[rank])

    def leaving(self, rank: Standing, reason: str) -> None:
        """Another rank fails, and the reason has been told."""
        self._end(reason)

    def late(self, me: Standing, ranks: Sequence[Standing], seconds: float) -> None:
        """Other ranks have not come where this one waits for them."""
        each = []
        for rank in ranks:
            trouble = f": {rank.trouble()}" if rank.trouble() else ""
            each.append(f"{rank} is late, in {rank.activity}{trouble}")
        waited = f"rank {me.rank} has waited {seconds:.0f} s in {me.activity} (runtime.timeout)"
        self._end(f"{'; '.join(each)}; {waited}", because_of=ranks)

    def _before_the_ranks_met(self, error: BaseException) -> int:
        """A mistake in the configuration is found by every rank: rank 0 tells it, and torchrun then ends the others.

        One that is still there after a while is on a host of its own with the mistake and tells it.
        """
        if isinstance(error, ConfigError):
            if self.place.rank != 0:
                sleep(PATIENCE)
            last_words(self._terminal, f"configuration error: {error}")
            return MISTAKE
        if self.place.rank == 0:
            traceback.print_exception(error)
        last_words(self._terminal, f"rank {self.place.rank} failed at the start: {type(error).__name__}: {error}")
        return self._leave(FAILED)

    def _end(
        self, sentence: str, status: int = FAILED, because_of: Sequence[Standing] = (), outcome: str = "failed"
    ) -> int:
        """Part from the other ranks; the first of this rank's threads to come here does it."""
        self._ending.acquire()
        if self._directory is None or first_to_note(self._directory, sentence):
            last_words(self._terminal, sentence)
        log.error("%s", sentence, extra=FILE_ONLY)
        if self._watch is not None:
            self._watch.leave(sentence)
        with suppress(Exception):
            self.close_records(outcome)
            if self._summary is not None and any(rank.rank == 0 for rank in because_of):
                self._summary.close(outcome)  # in the place of rank 0
        for rank in because_of:
            if rank.trouble():  # stopped, it would keep torchrun waiting
                with suppress(OSError):
                    os.kill(rank.pid, signal.SIGKILL)
        return self._leave(status)

    def _leave(self, status: int) -> int:
        """Without a clean-up of the transport: peers may be gone, and waiting for them would hide the message."""
        if self.place.size == 1:
            return status
        sys.stdout.flush()
        os._exit(status)
