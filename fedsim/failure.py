"""How a rank leaves when something goes wrong: one clear sentence per run, not a traceback per rank."""

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from time import sleep

from fedsim.comm import RankPlace
from fedsim.errors import ConfigError, FedsimError, FedsimWarning, RankError
from fedsim.records.logs import last_words
from fedsim.simulation import Simulation

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds for which a rank with a configuration error waits for rank 0 to say it first."""

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


def leave_after(error: BaseException, place: RankPlace, simulation: Simulation | None, terminal: int) -> int:
    """Say what happened and return the exit status.

    A mistake in the configuration is found by every rank: rank 0 tells it, and torchrun then ends the
    others; one that is still there after a while is on a host of its own with the mistake and tells it.
    """
    if isinstance(error, ConfigError):
        if place.rank != 0:
            sleep(PATIENCE)
        last_words(terminal, f"configuration error: {error}")
        return MISTAKE
    if isinstance(error, KeyboardInterrupt | SystemExit):
        _close(simulation, "interrupted")
        return 130 if isinstance(error, KeyboardInterrupt) else FAILED
    phase = f" in phase '{simulation.phases.current}'" if simulation is not None else ""
    what = str(error) if isinstance(error, FedsimError) else f"{type(error).__name__}: {error}"
    where = ""
    if logging.getLogger().handlers:
        where = f" (traceback in logs/rank_{place.rank}.log)"
        log.error("rank %d failed%s: %s", place.rank, phase, what, exc_info=error)
    elif place.rank == 0:
        traceback.print_exception(error)
    if not (isinstance(error, RankError) and place.rank != 0):
        last_words(terminal, f"rank {place.rank} failed{phase}: {what}{where}")
    _close(simulation, "failed")
    # No clean-up of the transport here: peers may be gone, and waiting for them would hide the message.
    sys.stdout.flush()
    os._exit(FAILED)


def _close(simulation: Simulation | None, status: str) -> None:
    if simulation is not None:
        with suppress(Exception):
            simulation.close_records(status)
