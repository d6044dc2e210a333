"""What each run of a report was: where it lies, what made it, and the command that runs it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedsim.report.environments import environment
from fedsim.report.study import Entry
from fedsim.results.run_result import RunResult
from fedsim.run_directory.directory import CONFIG
from fedsim.yaml_text import yaml_text


@dataclass(frozen=True)
class Cell:
    """One run as the report lists it.

    Attributes:
        anchor: its place in the page.
        command: that runs it again; empty for one that has never run.
    """

    anchor: str
    labels: Mapping[str, str]
    state: str
    reason: str
    score: str
    rounds: str
    seconds: str
    directory: str
    made_by: str
    command: str
    settings: str


def cells(entries: Sequence[Entry], scores: Sequence[float], *, with_settings: bool) -> list[Cell]:
    """The cells of a report, in the order of its runs.

    Args:
        scores: of each run, NaN where it has none.
        with_settings: whether to write all settings of each, which takes its time.
    """
    return [
        _cell(f"run-{place}", entry, score, with_settings)
        for place, (entry, score) in enumerate(zip(entries, scores, strict=True))
    ]


def _cell(anchor: str, entry: Entry, score: float, with_settings: bool) -> Cell:
    run = entry.run
    summary: Mapping[str, Any] = run.summary if run is not None else {}
    seconds = summary.get("seconds")
    return Cell(
        anchor=anchor,
        labels=entry.labels,
        state=entry.state,
        reason=entry.reason,
        score="" if score != score else f"{score:.4f}",
        rounds=str(summary.get("rounds", "")),
        seconds="" if seconds is None else f"{seconds:.0f}",
        directory="" if run is None else str(run.directory),
        made_by="" if run is None else _made_by(run),
        command="" if run is None else rerun_command(run),
        settings=yaml_text(dict(run.settings)) if with_settings and run is not None else "",
    )


def rerun_command(run: RunResult) -> str:
    """The command that runs it again, under its name with -2 behind it."""
    plugins = [word for plugin in run.environment.get("plugins", {}) for word in ("--plugin", str(plugin))]
    return shlex.join(["python", "fedsim/main.py", "--config", str(run.directory / CONFIG), *plugins])


def _made_by(run: RunResult) -> str:
    """Versions, commit and machine, in a line."""
    facts = environment(run)
    of_commit = f", commit {facts['commit']}" if facts["commit"] else ""
    where = f"{facts['device']}, {facts['ranks']} ranks"
    results = f"results version {facts['results version']}"
    return f"fedsim {facts['fedsim']}{of_commit}, {results}; torch {facts['torch']}; {where}"
