"""What is said about a failure: one sentence for each way in which a run can end early."""

import errno
import os
import shlex
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from traceback import FrameSummary, extract_tb

from fedsim.comm import RankStatus
from fedsim.errors import ComponentError, ConfigError, FedsimError
from fedsim.failures.gpu_errors import of_gpu

OURS = Path(__file__).resolve().parents[1]
LIBRARIES = frozenset({"site-packages", "dist-packages"})

DISK_FULL, TOO_MANY_FILES = (errno.ENOSPC, errno.EDQUOT), (errno.EMFILE, errno.ENFILE)

STOPPED_AT_START = "stopped by a signal before the first round, nothing is lost: --resume continues"


def early_end(status: str, done: int, divergence: str | None = None, directory: Path | None = None) -> str:
    """The end of a run that stopped or diverged after ``done`` rounds.

    Args:
        divergence: why the last round counts as diverged.
        directory: of the run, for the command that continues it.

    >>> early_end("interrupted", 3, directory=Path("runs/mine"))
    'stopped by a signal after round 3, nothing is lost: --resume runs/mine continues'
    """
    if status == "interrupted":
        words = "--resume" if directory is None else f"--resume {shlex.quote(str(directory))}"
        return f"stopped by a signal after round {done}, nothing is lost: {words} continues"
    return (
        f"diverged: after round {done} {divergence}; the newest checkpoint is from before (a stronger defence, a "
        "smaller learning rate, or runtime.on_divergence: continue)"
    )


def mistake(error: ConfigError) -> str:
    """A mistake in the configuration."""
    return f"configuration error: {error}"


def failed_at_start(rank: int, error: BaseException) -> str:
    """A failure before the ranks are connected."""
    where = place_in_a_plugin(error)
    what = str(error) if isinstance(error, FedsimError) else of_gpu(error) or f"{type(error).__name__}: {error}"
    return f"rank {rank} failed at the start: {what}{f' ({where})' if where else ''}"


def failed(me: RankStatus, error: BaseException, directory: Path | None) -> str:
    """An error on this rank, where it happened and where its traceback is."""
    return (
        f"{me} failed in {me.activity}: {_what(error, directory)} "
        f"({_place(error)}traceback in logs/rank_{me.rank}.log)"
    )


def _place(error: BaseException) -> str:
    """The line that was under way: of a plugin if one is involved, else of our own code; never of a library."""
    where = place_in_a_plugin(error)
    if not where and not isinstance(error, FedsimError | OSError):  # which say themselves what is wrong
        where = _last(_frames(error))
    return f"{where}; " if where else ""


def place_in_a_plugin(error: BaseException) -> str:
    """File and line of the code that is neither fedsim's nor a library's and was under way; empty without any."""
    return _last([frame for frame in _frames(error) if OURS not in Path(frame.filename).resolve().parents])


def _frames(error: BaseException) -> list[FrameSummary]:
    return [frame for frame in extract_tb(error.__traceback__) if not _is_of_a_library(frame.filename)]


def _last(frames: Sequence[FrameSummary]) -> str:
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""


def _is_of_a_library(filename: str) -> bool:
    parts = Path(filename).parts
    return not LIBRARIES.isdisjoint(parts) or filename.startswith(("<", sysconfig.get_path("stdlib")))


def _what(error: BaseException, directory: Path | None) -> str:
    """An error in words; only of one that nobody has thought of the name of its class is said."""
    if isinstance(error, FedsimError):
        return str(error)
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return f"no room is left for {directory} ({error}): make room, then --resume"
    if isinstance(error, OSError) and error.errno in TOO_MANY_FILES:
        return f"no more files can be opened ({error.strerror}): raise the limit (ulimit -n), then --resume"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return of_gpu(error) or f"{type(error).__name__}: {error}"


def exit_called(error: SystemExit) -> ComponentError:
    """What takes the place of an exit, which only a component's code calls for: it must not end a run in silence."""
    instead = ComponentError(f"a component has called sys.exit({error.code!r}); raise an exception instead")
    return instead.with_traceback(error.__traceback__)


def died(rank: RankStatus, why: str) -> str:
    """Another rank's process has ended."""
    return f"{rank} died in {rank.activity}: {why}"


def silent(me: RankStatus, rank: RankStatus) -> str:
    """The host of another rank does not answer: the side with rank 0 says so, the other one does not blame it."""
    if me.rank == 0:
        return f"{rank} fell silent in {rank.activity}: its host is gone, or cut off from host {me.host}"
    return f"{me} has lost {rank} in {me.activity}: rank 0 says more, unless its host is gone"


def late(me: RankStatus, ranks: Sequence[RankStatus], seconds: float) -> str:
    """Other ranks have not come to the collective in which this one waits."""
    each = []
    for rank in ranks:
        trouble = f": {rank.trouble()}" if rank.trouble() else ""
        each.append(f"{rank} is late, in {rank.activity}{trouble}")
    return f"{'; '.join(each)}; rank {me.rank} has waited {seconds:.0f} s in {me.activity} (runtime.timeout)"
