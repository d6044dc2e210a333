"""On which machines and with which versions the runs of a report were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from fedsim.report.study import Entry
from fedsim.results.run_result import RunResult

UNKNOWN = "?"
"""What a run does not say about itself."""


def environment_table(entries: Sequence[Entry]) -> pd.DataFrame:
    """A row for each environment, in the order in which they come up: what it was, how many runs, their seconds.

    A run that several entries name counts once.
    """
    runs = {entry.run.directory: entry.run for entry in entries if entry.run is not None}
    records = [
        {**environment(run), "runs": 1, "seconds": float(run.summary.get("seconds") or 0.0)} for run in runs.values()
    ]
    if not records:
        return pd.DataFrame()
    facts = [name for name in records[0] if name not in ("runs", "seconds")]
    table = pd.DataFrame(records).groupby(facts, sort=False, as_index=False).sum()
    return table.assign(seconds=table["seconds"].round().astype(int))


def environment(run: RunResult) -> dict[str, str]:
    """Versions, commit and machine of a run, as it has recorded them."""
    facts = run.environment
    versions = _part(facts, "versions")
    return {
        "fedsim": str(versions.get("fedsim", UNKNOWN)),
        "commit": commit(facts),
        "results version": str(facts.get("results_version", UNKNOWN)),
        "Python": str(facts.get("python", UNKNOWN)),
        "torch": str(versions.get("torch", UNKNOWN)),
        "processor": str(facts.get("processor", UNKNOWN)),
        "device": str(facts.get("device", UNKNOWN)),
        "ranks": str(facts.get("ranks", UNKNOWN)),
    }


def commit(facts: Mapping[str, Any]) -> str:
    """The commit of the source, in ten digits; empty where fedsim was installed without its history.

    >>> commit({"git": {"commit": "723e522b885b773b0dbf8a196feeef5659bb1b2d", "dirty": True}})
    '723e522b88 with changes'
    """
    git = _part(facts, "git")
    return f"{str(git['commit'])[:10]}{' with changes' * bool(git.get('dirty'))}" if git.get("commit") else ""


def _part(facts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = facts.get(name)
    return part if isinstance(part, Mapping) else {}
