"""How far a cell is: read from what its run has left, wherever and by whomever it is run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path

from fedsim.errors import escaped
from fedsim.files import read_text, write_text
from fedsim.records.round_record import RoundRecord
from fedsim.records.summary import ResultsSoFar, read_summary
from fedsim.records.writers import read_records
from fedsim.run_directory.directory import METRICS, results_version, run_directories
from fedsim.run_directory.lock import LOCK, holder_of
from fedsim.sweep.earlier import EarlierResults, earlier_results
from fedsim.sweep.plan import Cell

STATES = ("done", "running", "queued", "stopped", "diverged", "failed", "pending")


@dataclass(frozen=True)
class Progress:
    """Of one cell.

    Attributes:
        state: ``done``, ``running``, ``queued`` (in SLURM's queue), ``stopped`` (will be resumed), ``diverged``,
            ``failed`` or ``pending``.
        rounds: that are behind it, of those that are asked for.
        accuracy: final test accuracy, if it is done; the last one known otherwise.
        seconds: that it took, if it has ended.
        reason: why it failed.
        holder: the process that runs it, if it is running.
        job: the array that it waits in, if it is queued.
        run_rounds: that its run has; more than ``rounds`` where fewer are asked for now.
        quality: the other numbers of its last evaluation, as ``macro_f1`` and ``validation.accuracy``.
        metrics: what the summary says of further metrics, after ``rounds`` rounds.
        version: of the results (``fedsim/results_version.py``).
        earlier: results that count no more, if it is pending.
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
    run_rounds: int = 0
    quality: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    version: int | None = None
    earlier: EarlierResults | None = None

    @property
    def remark(self) -> str:
        """What there is to say about it."""
        if self.state == "failed":
            return escaped(self.reason)
        if self.state == "queued":
            return f"in SLURM's queue as part of job {self.job}"
        if self.state == "pending":
            return "" if self.earlier is None else escaped(str(self.earlier))
        asked = self.cell.config["rounds"]
        accuracy = "" if self.accuracy is None else f"accuracy {self.accuracy:.3f}"
        remark = f"{accuracy} after round {self.rounds} of {asked}".strip()
        if self.run_rounds <= asked:
            return remark
        unknown = ", which was not evaluated" if self.accuracy is None else ""
        return f"{remark}{unknown}; its run has {self.run_rounds}"


def progress_of(cell: Cell, sweep_folder: Path) -> Progress:
    """How far a cell is."""
    known = run_directories(cell.directory.parent, cell.directory.name)
    failure = failure_of(cell, sweep_folder)
    holder = holder_of(claim_on(cell, sweep_folder)) or (holder_of(known[0] / LOCK) if known else None)
    if not known:
        state = "running" if holder else "failed" if failure else "pending"
        earlier = earlier_results(cell) if state == "pending" else None
        return Progress(cell, state, reason=failure, holder=holder or "", earlier=earlier)
    found = _in_directory(cell, known[0])
    reason = found.reason or failure
    if holder is not None:
        return replace(found, state="running", reason=reason, holder=holder)
    return replace(found, state="failed" if failure and found.state == "stopped" else found.state, reason=reason)


def _in_directory(cell: Cell, directory: Path) -> Progress:
    """What the run of a cell has left.

    A run of more rounds than are asked for has, after as many, the results of a run that ends there: the cell is done
    with them. A run of fewer rounds is continued.
    """
    records, summary = read_records(directory / METRICS), read_summary(directory)
    state = {"completed": "done", "diverged": "diverged", "failed": "failed"}.get(
        str(summary.get("status")), "stopped"
    )
    asked, rounds = int(cell.config["rounds"]), records[-1].round if records else 0
    if state == "done":  # its summary is right whatever has become of its metrics.jsonl
        rounds = int(summary.get("rounds") or max(rounds, asked))
    progress = Progress(cell, state, directory=directory, run_rounds=rounds, version=results_version(directory))
    if rounds > asked:
        records = [record for record in records if record.round <= asked]
        last = records[-1] if records and records[-1].round == asked else None
        return replace(
            _with_results(progress, records),
            state="done",
            rounds=asked,
            accuracy=None if last is None else last.quality.accuracy,
            seconds=sum(sum(filter(None, record.times.values())) for record in records),
        )
    progress = replace(_with_results(progress, records), seconds=summary.get("seconds"), rounds=rounds)
    if state == "done":
        accuracy = summary.get("final_accuracy", progress.accuracy)
        metrics = summary.get("metrics", progress.metrics)
        state = "done" if rounds == asked or summary.get("stopped_early") else "stopped"
        return replace(progress, state=state, accuracy=accuracy, metrics=metrics)
    return replace(progress, reason=str(summary.get("reason") or ""))


def _with_results(progress: Progress, records: Sequence[RoundRecord]) -> Progress:
    results = reduce(ResultsSoFar.after, records, ResultsSoFar())
    evaluated = (record for record in reversed(records) if record.quality.accuracy is not None)
    last = next(evaluated, None)
    quality = (
        {} if last is None else {**vars(last.quality), **{f"validation.{k}": v for k, v in last.validation.items()}}
    )
    numbers = {name: value for name, value in quality.items() if isinstance(value, float) and name != "accuracy"}
    return replace(progress, accuracy=results.final_accuracy, metrics=results.metrics, quality=numbers)


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
