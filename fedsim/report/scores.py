"""One number of each run: a metric, at the end, at its best, or as the mean of the last rounds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import nan

import pandas as pd

from fedsim.errors import ConfigError, did_you_mean
from fedsim.records.round_record import OF_CLASSES, QUALITY
from fedsim.report.study import DONE, Entry, Study
from fedsim.results.run_result import RunResult

LOWER_IS_BETTER = re.compile(r"(^|[._])(loss|error|brier|attack_success|seconds|times)([._]|$)")

RECALL = "per_class_recall"

VALIDATION = "validation.accuracy"

MEASURED_ON_TEST_DATA = [name for name in QUALITY if name not in OF_CLASSES]

SHARE = re.compile(r"accuracy|f1|auc|auroc|recall|success|share|top_k|calibration_error|concordance_ratio")

ABBREVIATIONS = {"f1": "F1", "auc": "AUC", "auroc": "AUROC"}


def metric_in_words(metric: str) -> str:
    """The name of a metric as it is read.

    >>> metric_in_words("macro_f1"), metric_in_words("server.detection_auc"), metric_in_words("per_class_recall.8")
    ('macro F1', 'detection AUC', 'recall of class 8')
    """
    if of_class := re.fullmatch(rf"{RECALL}\.(\d+)", metric):
        return f"recall of class {of_class[1]}"
    words = re.split(r"[._]", metric.removeprefix("metrics.").removeprefix("server."))
    return " ".join(ABBREVIATIONS.get(word, word) for word in words)


def as_caption(text: object) -> str:
    """What begins a caption: a capital letter first, the others as they are."""
    words = str(text)
    return words[:1].upper() + words[1:]


@dataclass(frozen=True)
class Score:
    """What a run is judged by.

    Attributes:
        metric: a column of :attr:`fedsim.RunResult.metrics`, or ``per_class_recall.N`` of the class N.
        at: ``final``, ``best``, or ``last:N``, the mean of the last N evaluations. Of a run with validation samples
            ``best`` is the value in the round in which the accuracy on these is highest.
    """

    metric: str = "accuracy"
    at: str = "final"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"final|best|last:[1-9]\d*", self.at):
            raise ConfigError("--at", f"'{self.at}' is no way to judge a run", "take final, best or last:10")

    def __str__(self) -> str:
        """In words.

        >>> str(Score("balanced_accuracy", "last:5"))
        'balanced accuracy, mean of the last 5 evaluations'
        """
        name = metric_in_words(self.metric)
        if self.at.startswith("last:"):
            return f"{name}, mean of the last {self.at[5:]} evaluations"
        return f"{self.at} {name}"

    @property
    def lower_is_better(self) -> bool:
        """Whether it is a loss, an error or a success of the attack."""
        return LOWER_IS_BETTER.search(self.metric) is not None

    def of(self, metrics: pd.DataFrame) -> float:
        """The score of a run by its rounds; NaN where the metric is nowhere.

        >>> rounds = pd.DataFrame({"accuracy": [0.2, None, 0.6, 0.4]})
        >>> Score().of(rounds), Score(at="best").of(rounds), Score(at="last:2").of(rounds)
        (0.4, 0.6, 0.5)
        """
        if self.metric not in metrics:
            return nan
        values = metrics[self.metric].dropna().astype(float)
        if values.empty:
            return nan
        if self.at == "best":
            if has_validation(metrics):
                return float(metrics[self.metric].astype(float)[metrics[VALIDATION].astype(float).idxmax()])
            return float(values.min() if self.lower_is_better else values.max())
        return float(values.iloc[-1 if self.at == "final" else -int(self.at[5:]) :].mean())


def has_validation(metrics: pd.DataFrame) -> bool:
    """Whether a run was evaluated on validation samples."""
    return VALIDATION in metrics and bool(metrics[VALIDATION].notna().any())


def how_best_is_chosen(study: Study, score: Score) -> str:
    """By what data the best round of the runs is chosen, as the end of a sentence; empty if no best is taken."""
    if score.at != "best":
        return ""
    ways = {has_validation(entry.run.metrics) for entry in study.entries if entry.run is not None}
    if ways == {True}:
        return ", in the round that is best by validation"
    on_test = "on the test data, which flatters"
    if ways == {True, False}:
        return (
            f", in the round that is best by validation, or chosen {on_test}, where a run has no validation samples"
        )
    return f", in a round that is chosen {on_test}" if score.metric in MEASURED_ON_TEST_DATA else ""


def is_share(metric: str) -> bool:
    """Whether a metric lies between 0 and 1, so that colours and axes can mean the same in every figure.

    >>> is_share("balanced_accuracy"), is_share("server.detection_auc"), is_share("loss")
    (True, True, False)
    """
    return SHARE.search(metric) is not None


def score_table(study: Study, score: Score) -> pd.DataFrame:
    """A row per run: its labels, its state, and its ``score``, which only runs that are done have.

    Raises:
        ConfigError: no run has the metric.
    """
    known: dict[str, None] = {}
    rows = []
    axes = list(dict.fromkeys([*study.axes, *(axis for entry in study.entries for axis in entry.labels)]))
    for entry in study.entries:
        metrics = measured(entry.run, score.metric) if entry.run is not None else pd.DataFrame()
        known.update(dict.fromkeys(metrics.columns if len(metrics) else ()))
        value = score.of(metrics) if entry.state == DONE else nan
        rows.append({**dict.fromkeys(axes, ""), **entry.labels, "state": entry.state, "score": value})
    known.pop("round", None)
    if known and score.metric not in known:
        remedy = f"{did_you_mean(score.metric, known)}; --list names all"
        raise ConfigError("--metric", f"no run has '{score.metric}'", remedy)
    return pd.DataFrame(rows, columns=[*axes, "state", "score"])


def curves(entry: Entry, metric: str) -> pd.Series[float]:
    """A metric of a run by round, where it was measured."""
    metrics = measured(entry.run, metric) if entry.run is not None else pd.DataFrame()
    return metrics.set_index("round")[metric].dropna().astype(float) if metric in metrics else pd.Series(dtype=float)


def measured(run: RunResult, metric: str = RECALL) -> pd.DataFrame:
    """A row per round of everything that a run may be judged by.

    Args:
        metric: by which; the recalls of the classes are there only if it is one of them.
    """
    if not metric.startswith(RECALL) or run.classes.empty:
        return run.metrics
    of_classes = run.classes.pivot(index="round", columns="class", values="recall")
    return run.metrics.merge(of_classes.add_prefix(f"{RECALL}."), on="round", how="left")


def metrics_of(study: Study) -> list[str]:
    """The names of all that some run may be judged by."""
    frames = (measured(entry.run) for entry in study.entries if entry.run is not None)
    return list(dict.fromkeys(name for frame in frames for name in frame.columns if name != "round"))
