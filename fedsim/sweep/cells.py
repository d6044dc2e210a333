"""How far a cell is: read from what its run has left, wherever and by whomever it is run."""

from dataclasses import dataclass
from pathlib import Path

from fedsim.errors import escaped
from fedsim.files import read_text, write_text
from fedsim.records.summary import read_summary
from fedsim.records.writers import read_records
from fedsim.run_directory.directory import run_directories
from fedsim.run_directory.lock import LOCK, holder_of
from fedsim.sweep.plan import Cell

STATES = ("done", "running", "queued", "stopped", "diverged", "failed", "pending")


@dataclass(frozen=True)
class Progress:
    """Of one cell.

    Attributes:
        state: ``done``, ``running``, ``queued`` (in SLURM's queue), ``stopped`` (will be resumed), ``diverged``,
            ``failed`` or ``pending``.
        rounds: that are behind it.
        accuracy: final test accuracy, if it is done; the last one known otherwise.
        seconds: that it took, if it has ended.
        reason: why it failed.
        holder: the process that runs it, if it is running.
        job: the array that it waits in, if it is queued.
    """

    cell: Cell
    state: str
    rounds: int = 0
    accuracy: float | None = None
    seconds: float | None = None
    reason: str = ""
    directory: Path | None = None
    holder: str = ""
    job: str = ""

    @property
    def remark(self) -> str:
        """What there is to say about it."""
        accuracy = "" if self.accuracy is None else f"accuracy {self.accuracy:.3f}"
        if self.state == "failed":
            return escaped(self.reason)
        if self.state == "queued":
            return f"in SLURM's queue as part of job {self.job}"
        if self.state == "pending":
            return ""
        return f"{accuracy} after round {self.rounds} of {self.cell.config['rounds']}".strip()


def progress_of(cell: Cell, sweep_folder: Path) -> Progress:
    """How far a cell is."""
    known = run_directories(cell.directory.parent, cell.directory.name)
    failure = failure_of(cell, sweep_folder)
    holder = holder_of(claim_on(cell, sweep_folder)) or (holder_of(known[0] / LOCK) if known else None)
    if not known:
        state = "running" if holder else "failed" if failure else "pending"
        return Progress(cell, state, reason=failure, holder=holder or "")
    directory = known[0]
    records = read_records(directory / "metrics.jsonl")
    summary = read_summary(directory)
    accuracies = [record.quality.accuracy for record in records if record.quality.accuracy is not None]
    state = {"completed": "done", "diverged": "diverged", "failed": "failed"}.get(
        str(summary.get("status")), "stopped"
    )
    reason = str(summary.get("reason") or "") or failure
    if holder is not None:
        state = "running"
    elif failure and state == "stopped":
        state = "failed"
    rounds, accuracy = (records[-1].round if records else 0), (accuracies[-1] if accuracies else None)
    if state == "done":  # its summary is right whatever has become of its metrics.jsonl
        rounds, accuracy = int(summary.get("rounds") or rounds), summary.get("final_accuracy", accuracy)
    return Progress(
        cell,
        state,
        rounds=rounds,
        accuracy=accuracy,
        seconds=summary.get("seconds"),
        reason=reason,
        directory=directory,
        holder=holder or "",
    )


def note_failure(cell: Cell, sweep_folder: Path, reason: str) -> None:
    """Remember why a cell could not even start, or ended without a word of its own; "" forgets it."""
    path = _note(cell, sweep_folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    if reason:
        write_text(path, f"{reason}\n")
    else:
        path.unlink(missing_ok=True)


def failure_of(cell: Cell, sweep_folder: Path) -> str:
    """What :func:`note_failure` remembers."""
    try:
        return read_text(_note(cell, sweep_folder)).strip()
    except (OSError, UnicodeDecodeError):
        return ""


def claim_on(cell: Cell, sweep_folder: Path) -> Path:
    """The lock that a sweep holds while it runs a cell, from before there is a run directory."""
    return sweep_folder / "cells" / f"{cell.config_hash}.lock"


def _note(cell: Cell, sweep_folder: Path) -> Path:
    return sweep_folder / "cells" / f"{cell.config_hash}.failure"
