"""The summary of a run."""

import json
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


def test_the_summary_does_not_depend_on_what_is_left_of_the_lines(tmp_path: Path) -> None:
    summary = SummaryFile(tmp_path, done=4, results=ResultsSoFar(4, 0.5, 0.875, 2, 1.5))
    summary.write(record(5, 0.75))
    (tmp_path / "metrics.jsonl").write_bytes(b"\xff\n")
    assert summary.state_dict()["results"]["best_round"] == 2
    summary.close("completed")
    said = json.loads((tmp_path / "summary.json").read_text())
    assert [said[key] for key in ("rounds", "final_accuracy", "best_accuracy", "best_round")] == [5, 0.75, 0.875, 2]


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
        "[2]",
    ],
)
def test_a_line_that_is_no_record_is_left_out(tmp_path: Path, line: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(f'{{"round": 3}}\n{line}\n{{"round": 1, "accuracy": null}}\n')
    assert [one.round for one in read_records(tmp_path / "metrics.jsonl")] == [1, 3]
