"""The summary of a run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fedsim.records.round_record import Quality, RoundRecord
from fedsim.records.summary import ResultsSoFar, SummaryFile, read_summary, results_in
from fedsim.records.writers import JsonLines, read_records


def record(number: int, accuracy: float | None, loss: float | None = 1.0) -> RoundRecord:
    return RoundRecord(round=number, quality=Quality(accuracy=accuracy, loss=loss), train_loss=None)


def test_results_kept_from_round_to_round_are_those_of_the_lines(tmp_path: Path) -> None:
    writer, results = JsonLines(tmp_path / "metrics.jsonl", 0), ResultsSoFar()
    for number, accuracy in enumerate([None, 0.25, 0.75, float("nan"), 0.75, 0.5, None], start=1):
        writer.write(record(number, accuracy, loss=float("inf") if number == 6 else 1 / number))
        results = results.after(record(number, accuracy, loss=float("inf") if number == 6 else 1 / number))
    writer.close("completed")
    assert results == results_in(tmp_path / "metrics.jsonl") == ResultsSoFar(7, 0.5, 0.75, 3, None)


def test_the_best_round_is_chosen_by_validation_where_there_is_any() -> None:
    values = [(0.5, 0.0), (None, None), (0.25, 0.75), (1.0, 0.5), (0.0, 0.75)]
    results = ResultsSoFar()
    for number, (accuracy, validation) in enumerate(values, start=1):
        held_out = {} if validation is None else {"accuracy": validation}
        results = results.after(replace(record(number, accuracy), validation=held_out))
        results = ResultsSoFar(**json.loads(json.dumps(results.to_dict())))  # as a checkpoint keeps it
    assert (results.best_round, results.best_accuracy, results.best_validation_accuracy) == (3, 0.25, 0.75)
    assert results.final_accuracy == 0.0
    assert "best_validation_accuracy" not in ResultsSoFar().after(record(1, 0.5)).to_dict()


@pytest.mark.parametrize(
    ("status", "rounds", "early"), [("completed", 9, True), ("completed", 5, False), ("failed", 9, False)]
)
def test_a_completed_run_of_fewer_rounds_was_stopped_early(
    tmp_path: Path, status: str, rounds: int, early: bool
) -> None:
    SummaryFile(tmp_path, results=ResultsSoFar(5, 0.5, 0.5, 1, 1.0), rounds=rounds).close(status)
    assert read_summary(tmp_path).get("stopped_early", False) is early


def test_the_summary_does_not_depend_on_what_is_left_of_the_lines(tmp_path: Path) -> None:
    summary = SummaryFile(tmp_path, done=4, results=ResultsSoFar(4, 0.5, 0.875, 2, 1.5))
    summary.write(record(5, 0.75))
    (tmp_path / "metrics.jsonl").write_bytes(b"\xff\n")
    assert summary.state_dict()["results"]["best_round"] == 2
    summary.close("completed")
    said = json.loads((tmp_path / "summary.json").read_text())
    assert [said[key] for key in ("rounds", "final_accuracy", "best_accuracy", "best_round")] == [5, 0.75, 0.875, 2]


def test_metrics_have_their_last_smallest_and_largest_value(tmp_path: Path) -> None:
    writer, summary = JsonLines(tmp_path / "metrics.jsonl", 0), SummaryFile(tmp_path, results=ResultsSoFar())
    seen: list[dict[str, float | None]] = [
        {"brier": 0.5, "cosine.honest": -1.0},
        {"cosine.honest": 2.0},
        {"brier": None},
        {"brier": 0.25},
        {},
    ]
    for number, values in enumerate(seen, start=1):
        one = RoundRecord(round=number, train_loss=None, metrics=values)
        writer.write(one)
        summary.write(one)
    state = summary.state_dict()["results"]
    summary.close("completed")
    expected = {
        "brier": {"final": 0.25, "smallest": 0.25, "largest": 0.5},
        "cosine.honest": {"final": 2.0, "smallest": -1.0, "largest": 2.0},
    }
    assert read_summary(tmp_path)["metrics"] == results_in(tmp_path / "metrics.jsonl").metrics == expected
    assert ResultsSoFar(**json.loads(json.dumps(state))).metrics == expected  # as a checkpoint keeps it


def test_without_metrics_neither_line_nor_summary_has_a_word_of_them(tmp_path: Path) -> None:
    assert "metrics" not in record(1, 0.5).to_dict()
    assert "metrics" not in ResultsSoFar().to_dict()


@pytest.mark.parametrize("value", ["[]", "[0.5]", '{"brier": 1}', '{"brier": {"final": "low"}}', "null"])
def test_damaged_metrics_of_a_summary_are_left_out(tmp_path: Path, value: str) -> None:
    (tmp_path / "summary.json").write_text(f'{{"rounds": 2, "metrics": {value}}}')
    assert read_summary(tmp_path) == {"rounds": 2}


def test_values_that_cannot_be_meant_are_left_out(tmp_path: Path) -> None:
    text = (
        '{"status": ["failed"], "rounds": true, "seconds": NaN, "best_accuracy": "1", "reason": 3, "final_loss": 2}'
    )
    (tmp_path / "summary.json").write_text(text)
    assert read_summary(tmp_path) == {"final_loss": 2}


@pytest.mark.parametrize(
    "line",
    [
        '{"round": true}',
        '{"round": 0}',
        '{"round": 2.0}',
        '{"round": 2, "accuracy": "0.5"}',
        '{"round": 2, "loss": 1e999}',
        '{"round": 2, "times": {"gather": []}}',
        '{"round": 2, "clients": {"trust": {"x": 1}}}',
        '{"round": 2, "clients": [1]}',
        '{"round": 2, "attack": 5}',
        '{"round": 2, "train_loss": 1' + "0" * 400 + "}",
        '{"round": 2, "metrics": {"brier": "low"}}',
        '{"round": 2, "metrics": [1]}',
        '{"round": 2, "validation": {"accuracy": "low"}}',
        "[2]",
    ],
)
def test_a_line_that_is_no_record_is_left_out(tmp_path: Path, line: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(f'{{"round": 3}}\n{line}\n{{"round": 1, "accuracy": null}}\n')
    assert [one.round for one in read_records(tmp_path / "metrics.jsonl")] == [1, 3]
