"""The end of a run: summary.json, and what happened in words."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from math import inf, isfinite
from pathlib import Path
from time import perf_counter
from typing import Any

from fedsim.errors import counted
from fedsim.records.round_record import RoundRecord
from fedsim.records.writers import RecordWriter, read_records
from fedsim.run_directory.damage import make_way_for, read_json
from fedsim.run_directory.directory import METRICS, write_json
from fedsim.run_directory.failure_note import recorded_failure

SUMMARY = "summary.json"

WORDS = ("status", "reason")
"""Keys whose values are words; those of the others are numbers."""

FLAGS = ("stopped_early",)
"""Keys whose values are true or false."""

NOT_IN_EVERY_SUMMARY = ("metrics", "best_validation_accuracy")
"""Keys that are missing where there is nothing in them."""


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


@dataclass(frozen=True)
class ResultsSoFar:
    """What a summary says about the rounds, kept from round to round: it survives a damaged file.

    The best round is that of the highest accuracy on the validation samples; without any, on the test samples.
    """

    rounds: int = 0
    final_accuracy: float | None = None
    best_accuracy: float | None = None
    best_round: int | None = None
    final_loss: float | None = None
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    best_validation_accuracy: float | None = None

    def after(self, record: RoundRecord) -> "ResultsSoFar":
        """With one round more."""
        accuracy, loss, metrics = record.quality.accuracy, record.quality.loss, self._metrics_after(record)
        if accuracy is None or not isfinite(accuracy):
            return replace(self, rounds=record.round, metrics=metrics)
        validation = record.validation.get("accuracy")
        best, judged = self.best_accuracy, accuracy
        if validation is not None:
            best, judged = self.best_validation_accuracy, validation
        better = best is None or judged > best
        return ResultsSoFar(
            rounds=record.round,
            final_accuracy=accuracy,
            best_accuracy=accuracy if better else self.best_accuracy,
            best_round=record.round if better else self.best_round,
            final_loss=loss if loss is not None and isfinite(loss) else None,
            metrics=metrics,
            best_validation_accuracy=validation if better else self.best_validation_accuracy,
        )

    def _metrics_after(self, record: RoundRecord) -> dict[str, Mapping[str, float]]:
        """Of each further metric the last value, the smallest and the largest."""
        found = dict(self.metrics)
        for name, value in record.metrics.items():
            if value is not None:
                before = found.get(name, {"smallest": value, "largest": value})
                smallest, largest = min(before["smallest"], value), max(before["largest"], value)
                found[name] = {"final": value, "smallest": smallest, "largest": largest}
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values, without what only some runs have where there is none."""
        missing = [key for key in NOT_IN_EVERY_SUMMARY if getattr(self, key) in (None, {})]
        return {key: value for key, value in asdict(self).items() if key not in missing}


class SummaryFile(RecordWriter):
    """``summary.json``, written when the run ends.

    Args:
        done: rounds that a resumed run has behind it; the seconds that they took count.
        results: what these rounds have found; None: read from ``metrics.jsonl`` at the end.
        rounds: that the run was to have; one that is completed with fewer was stopped early.
    """

    def __init__(
        self, directory: Path, done: int = 0, results: ResultsSoFar | None = None, *, rounds: int = 0
    ) -> None:
        self._directory, self._results, self._rounds = directory, results, rounds
        self._started = perf_counter() - (seconds_so_far(directory) if done else 0.0)

    def write(self, record: RoundRecord) -> None:
        if self._results is not None:
            self._results = self._results.after(record)

    def state_dict(self) -> dict[str, Any]:
        return {} if self._results is None else {"results": self._results.to_dict()}

    def close(self, status: str) -> None:
        results = self._results or results_in(self._directory / METRICS)
        summary = {"status": status, **results.to_dict(), "seconds": perf_counter() - self._started}
        if status == "completed" and results.rounds < self._rounds:
            summary["stopped_early"] = True
        if status == "failed":
            summary["reason"] = recorded_failure(self._directory)
        make_way_for(self._directory / SUMMARY)
        write_json(self._directory / SUMMARY, summary)


def read_summary(directory: Path) -> dict[str, Any]:
    """The summary that a run has left in its directory, without what cannot be meant; empty if it cannot be read."""
    return {key: value for key, value in read_json(directory / SUMMARY).items() if _can_be_meant(key, value)}


def _can_be_meant(key: str, value: Any) -> bool:
    if key in WORDS:
        return isinstance(value, str)
    if key in FLAGS:
        return isinstance(value, bool)
    if key == "metrics":
        return isinstance(value, dict) and all(isinstance(its, dict) and _are_numbers(its) for its in value.values())
    return value is None or _is_number(value)


def _are_numbers(values: Mapping[str, Any]) -> bool:
    return all(map(_is_number, values.values()))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and abs(value) < inf


def seconds_so_far(directory: Path) -> float:
    """What a run has taken so far, by its summary; if it was killed since then, by the times of its rounds."""
    said = read_summary(directory).get("seconds") or 0.0
    return max(said, sum(sum(filter(None, record.times.values())) for record in read_records(directory / METRICS)))


def results_in(metrics: Path) -> ResultsSoFar:
    """What the rounds in a ``metrics.jsonl`` have found."""
    results = ResultsSoFar()
    for record in read_records(metrics):
        results = results.after(record)
    return results


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
    final, best = summary.get("final_accuracy"), summary.get("best_accuracy")
    early = ", stopped early" * bool(summary.get("stopped_early"))
    took = f"{counted(summary.get('rounds') or 0, 'round')} in {summary.get('seconds') or 0.0:.0f} s{early}"
    quality = "its test accuracy is not known"  # summary.json of a finished run was damaged
    if final is not None and best is not None:
        accuracies = f"final test accuracy {final:.3f}, {_best_in_words(best, summary)}"
        quality = f"{accuracies}: {verdict(final, best, facts.largest_class)}"
    lines = [
        f"{facts.aggregator} on {facts.data} {facts.against}: {took}",
        quality,
        f"run directory: {directory}",
        f"look at it:    tensorboard --logdir {directory.parent}",
    ]
    return "\n  ".join(lines)


def _best_in_words(best: float, summary: Mapping[str, Any]) -> str:
    number = summary.get("best_round")
    by_validation = f"{best:.3f} in round {number}, the best by validation"
    return f"best {best:.3f} in round {number}" if "best_validation_accuracy" not in summary else by_validation


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
