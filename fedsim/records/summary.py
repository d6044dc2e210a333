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
    """What a run is about, for its summary.

    Attributes:
        attack: names of the attacks, ``none`` without.
        num_byzantine: the most in a round.
        attack_acts: whether a Byzantine client takes part in some round.
        largest_class: share of the largest class in the test data, the accuracy of always naming it.
    """

    data: str
    attack: str
    aggregator: str
    num_byzantine: int
    num_clients: int
    attack_acts: bool
    largest_class: float

    @property
    def against(self) -> str:
        """Whom the run was against, in words."""
        if self.attack == "none":
            return "without attack"
        if not self.attack_acts:
            return f"without attack ('{self.attack}' never acted)"
        return f"against '{self.attack}' by {self.num_byzantine} of {self.num_clients} clients"


class SummaryFile(RecordWriter):
    """``summary.json``, made from ``metrics.jsonl`` when the run ends; it stands after that writer.

    Args:
        done: rounds that a resumed run has behind it; the seconds that they took count.
    """

    def __init__(self, directory: Path, done: int = 0) -> None:
        self._directory = directory
        self._started = perf_counter() - (seconds_so_far(directory) if done else 0.0)

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


def seconds_so_far(directory: Path) -> float:
    """What a run has taken so far, by its summary; if it was killed since then, by the times of its rounds."""
    try:
        said = float(read_summary(directory)["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        said = 0.0
    return max(said, sum(sum(record.times.values()) for record in read_records(directory / "metrics.jsonl")))


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

    >>> facts = RunFacts("mnist5k", "fang", "fedavg", 3, 8, attack_acts=True, largest_class=0.1)
    >>> summary = dict(rounds=2, seconds=3, final_accuracy=0.1, best_accuracy=0.2, best_round=1, final_loss=None)
    >>> print(closing_message(summary, facts, Path("runs/x")))
    fedavg on mnist5k against 'fang' by 3 of 8 clients: 2 rounds in 3 s
      final test accuracy 0.100, best 0.200 in round 1: it collapsed to chance (the largest class: 0.100)
      run directory: runs/x
      look at it:    tensorboard --logdir runs
    """
    final, best = summary["final_accuracy"], summary["best_accuracy"]
    lines = [
        f"{facts.aggregator} on {facts.data} {facts.against}: "
        f"{summary['rounds']} round{'s' * (summary['rounds'] != 1)} in {summary['seconds']:.0f} s",
        f"final test accuracy {final:.3f}, best {best:.3f} in round {summary['best_round']}: "
        f"{verdict(final, best, facts.largest_class)}",
        f"run directory: {directory}",
        f"look at it:    tensorboard --logdir {directory.parent}",
    ]
    return "\n  ".join(lines)


def verdict(final: float, best: float, largest_class: float) -> str:
    """What became of the accuracy, in words; always naming the largest class is what chance means here.

    >>> verdict(final=0.723, best=0.723, largest_class=0.72)
    'it never rose above chance (the largest class: 0.720)'
    >>> verdict(final=0.9, best=0.91, largest_class=0.72)
    'it stayed near its best'
    """
    nothing_learned = largest_class + 0.05 * (1 - largest_class)
    chance = f"chance (the largest class: {largest_class:.3f})"
    if best < nothing_learned:
        return f"it never rose above {chance}"
    if final < nothing_learned:
        return f"it collapsed to {chance}"
    if final < best - 0.1:
        return "it fell from its best"
    return "it stayed near its best"
