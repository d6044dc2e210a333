"""One number of each run."""

import json
from math import isnan
from pathlib import Path

import pytest

from fedsim.errors import ConfigError
from fedsim.report.scores import Score, how_best_is_chosen, metrics_of, score_table
from fedsim.report.study import read_study
from support.recorded_runs import recorded_run


@pytest.mark.parametrize(
    ("metric", "at", "expected"),
    [
        ("accuracy", "final", 0.5),
        ("accuracy", "best", 0.75),
        ("accuracy", "last:2", 0.625),
        ("accuracy", "last:99", 0.5),
        ("loss", "final", 0.5),
        ("loss", "best", 0.25),
        ("server.detection_auc", "final", 0.5),
    ],
)
def test_scores_by_hand(tmp_path: Path, metric: str, at: str, expected: float) -> None:
    study = read_study([recorded_run(tmp_path / "run", [0.25, None, 0.75, 0.5])])
    assert score_table(study, Score(metric, at))["score"].tolist() == [expected]


@pytest.mark.parametrize(
    ("metric", "at", "expected"),
    [
        ("accuracy", "best", 0.25),
        ("loss", "best", 0.75),
        ("validation.accuracy", "best", 0.9),
        ("validation.accuracy", "last:2", 0.5),
        ("accuracy", "final", 0.5),
    ],
)
def test_the_best_round_is_chosen_by_validation(tmp_path: Path, metric: str, at: str, expected: float) -> None:
    study = read_study([recorded_run(tmp_path / "run", [0.25, 0.75, 0.5], validation=[0.9, 0.3, 0.7])])
    assert score_table(study, Score(metric, at))["score"].tolist() == [expected]


def test_the_recall_of_a_class_is_a_score(tmp_path: Path) -> None:
    folder = recorded_run(tmp_path / "run", [0.25, None, 0.75])
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for record, recalls in zip(records, ([0.5, 0.0], None, [1.0, None]), strict=True):
        record["per_class_recall"] = recalls
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    study = read_study([folder])
    assert score_table(study, Score("per_class_recall.0"))["score"].tolist() == [1.0]
    assert score_table(study, Score("per_class_recall.1"))["score"].tolist() == [0.0]
    assert {"accuracy", "per_class_recall.1"} <= set(metrics_of(study))
    with pytest.raises(ConfigError, match=r"no run has 'per_class_recall\.2'.*--list names all"):
        score_table(study, Score("per_class_recall.2"))


def test_it_is_said_by_what_data_the_best_round_is_chosen(tmp_path: Path) -> None:
    plain = recorded_run(tmp_path / "plain", [0.25, 0.75])
    validated = recorded_run(tmp_path / "validated", [0.25, 0.75], validation=[0.9, 0.3])
    said = [how_best_is_chosen(read_study(paths), Score(at="best")) for paths in ([plain], [validated], [tmp_path])]
    assert ["test data" in text for text in said] == [True, False, True]
    assert ["by validation" in text for text in said] == [False, True, True]
    assert how_best_is_chosen(read_study([plain]), Score()) == ""


def test_only_runs_that_are_done_have_a_score(tmp_path: Path) -> None:
    recorded_run(tmp_path / "a", [0.5], status="diverged")
    recorded_run(tmp_path / "b", [0.5])
    scores = score_table(read_study([tmp_path]), Score())["score"].tolist()
    assert isnan(scores[0])
    assert scores[1] == 0.5


@pytest.mark.parametrize(
    "metric", ["loss", "server.aggregation_error_ratio", "metrics.attack_success", "metrics.brier"]
)
def test_what_is_bad_when_large(metric: str) -> None:
    assert Score(metric).lower_is_better


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "metrics.auroc", "server.detection_auc", "metrics.top_k"])
def test_what_is_good_when_large(metric: str) -> None:
    assert not Score(metric).lower_is_better


def test_mistakes_are_named(tmp_path: Path) -> None:
    study = read_study([recorded_run(tmp_path / "run", [0.5])])
    with pytest.raises(ConfigError, match=r"--metric: no run has 'acuracy'; did you mean 'accuracy'"):
        score_table(study, Score("acuracy"))
    for wrong in ("last", "last:0", "end"):
        with pytest.raises(ConfigError, match=f"--at: '{wrong}'"):
            Score("accuracy", wrong)
