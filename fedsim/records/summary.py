"""The end of a run: summary.json, and what happened in words."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from fedsim.records.round_record import Quality, RoundRecord
from fedsim.records.writers import RecordWriter, read_records
from fedsim.run_directory.directory import write_json
from fedsim.run_directory.failure_note import recorded_failure


@dataclass(frozen=True)
class RunFacts:
    """What a run is about, for its summary."""

    data: str
    attack: str
    aggregator: str
    num_byzantine: int
    num_clients: int
    num_classes: int


class SummaryFile(RecordWriter):
    """``summary.json``, made from ``metrics.jsonl`` when the run ends; it stands after that writer."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._started = directory, perf_counter()

    def write(self, record: RoundRecord) -> None:
        pass

    def close(self, status: str) -> None:
        summary = summarise(self._directory / "metrics.jsonl", status)
        summary["seconds"] = perf_counter() - self._started
        if status == "failed":
            summary["reason"] = recorded_failure(self._directory)
        write_json(self._directory / "summary.json", summary)


def read_summary(directory: Path) -> dict[str, Any]:
    """The summary that a run has left in its directory."""
    summary: dict[str, Any] = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    return summary


def summarise(metrics: Path, status: str) -> dict[str, Any]:
    """Final and best accuracy, number of rounds and status of a run."""
    records = read_records(metrics)
    evaluated = [record for record in records if record.quality.accuracy is not None]
    best = max(evaluated, key=lambda record: record.quality.accuracy or 0.0, default=None)
    final = evaluated[-1].quality if evaluated else Quality()
    return {
        "status": status,
        "rounds": records[-1].round if records else 0,
        "final_accuracy": final.accuracy,
        "best_accuracy": best.quality.accuracy if best else None,
        "best_round": best.round if best else None,
        "final_loss": final.loss,
    }


def closing_message(summary: Mapping[str, Any], facts: RunFacts, directory: Path) -> str:
    """The end of a run, in words and numbers, and where to look.

    >>> facts = RunFacts("mnist5k", "fang", "fedavg", 3, 8, 10)
    >>> summary = dict(rounds=2, seconds=3, final_accuracy=0.1, best_accuracy=0.2, best_round=1, final_loss=None)
    >>> closing_message(summary, facts, Path("runs/x")).splitlines()[1].strip()
    'final test accuracy 0.100, best 0.200 in round 1: accuracy collapsed to chance'
    """
    final, best = summary["final_accuracy"], summary["best_accuracy"]
    against = f"'{facts.attack}' by {facts.num_byzantine} of {facts.num_clients} clients"
    lines = [
        f"{facts.aggregator} on {facts.data} against {against}: "
        f"{summary['rounds']} round{'s' * (summary['rounds'] != 1)} in {summary['seconds']:.0f} s",
        f"final test accuracy {final:.3f}, best {best:.3f} in round {summary['best_round']}: "
        f"{_verdict(final, best, 1 / facts.num_classes)}",
        f"run directory: {directory}",
        f"look at it:    tensorboard --logdir {directory.parent}",
    ]
    return "\n  ".join(lines)


def _verdict(final: float, best: float, chance: float) -> str:
    if best < 1.5 * chance:
        return "accuracy never rose above chance"
    if final < 1.5 * chance:
        return "accuracy collapsed to chance"
    if final < best - 0.1:
        return "accuracy fell from its best"
    return "accuracy stayed near its best"
