"""The states of cells."""

import fcntl
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedsim.results_version import RESULTS_VERSION
from fedsim.run_directory.directory import write_yaml
from fedsim.sweep.cells import Progress, note_failure, progress_of
from fedsim.sweep.plan import Sweep
from fedsim.sweep.tables import keep_results, seconds_left, status_lines
from support.sweeps import leave


def states(sweep: Sweep) -> list[str]:
    return [progress_of(cell, sweep.folder).state for cell in sweep.cells]


def test_the_state_of_a_cell_is_what_its_run_has_left(sweep: Sweep) -> None:
    leave(sweep, 0, "completed", 0.5, 0.9)
    leave(sweep, 1, "failed", 0.5, reason="rank 1 died")
    leave(sweep, 2, "diverged", 0.1)
    leave(sweep, 3, "interrupted", 0.5)
    leave(sweep, 4, None, 0.5)  # killed
    leave(sweep, 5, None, None)
    note_failure(sweep.cells[6], sweep.folder, "configuration error: no data")
    with (sweep.cells[5].directory / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert states(sweep) == ["done", "failed", "diverged", "stopped", "stopped", "running", "failed", "pending"]
    assert states(sweep)[5] == "stopped"
    remarks = [progress_of(cell, sweep.folder).remark for cell in sweep.cells]
    assert remarks[0] == "accuracy 0.900 after round 2 of 2"
    assert remarks[1] == "rank 1 died"
    assert remarks[6] == "configuration error: no data"
    note_failure(sweep.cells[6], sweep.folder, "")
    assert states(sweep)[6] == "pending"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.jsonl", b'{"round": 1, "acc\x9f'),
        ("metrics.jsonl", b"[" * 70_000),
        ("metrics.jsonl", b'{"round": 2, "accuracy": "high"}\n'),
        ("metrics.jsonl", None),
        ("summary.json", b"[]"),
        ("summary.json", b"7\n"),
        ("summary.json", b"[" * 70_000),
        ("summary.json", b'{"status": "completed", "seconds": "long"}'),
    ],
)
def test_a_cell_whose_records_are_damaged_hides_no_other(sweep: Sweep, name: str, content: bytes | None) -> None:
    for position in range(len(sweep.cells)):
        leave(sweep, position, "interrupted" if position == 7 else "completed", 0.25, 0.75)
    path = sweep.cells[2].directory / name
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    cells = [progress_of(cell, sweep.folder) for cell in sweep.cells]
    keep_results(sweep, cells)
    shown = list(status_lines(cells, seconds_left(cells, 1)))
    assert sum("accuracy 0.750 after round 2 of 2" in line for line in shown) >= len(cells) - 1
    assert cells[2].state == ("done" if name == "metrics.jsonl" or b"completed" in (content or b"") else "stopped")


def test_the_accuracy_of_a_cell_that_is_done_is_that_of_its_summary(sweep: Sweep) -> None:
    leave(sweep, 0, "completed", 0.5, 0.875)
    directory = sweep.cells[0].directory
    summary = {"status": "completed", "rounds": 2, "final_accuracy": 0.875}
    (directory / "summary.json").write_text(json.dumps(summary))
    (directory / "metrics.jsonl").write_text('{"round": 1, "accuracy": 0.5}\n')
    assert progress_of(sweep.cells[0], sweep.folder).remark == "accuracy 0.875 after round 2 of 2"


def test_a_cell_whose_config_is_lost_is_not_pending(sweep: Sweep) -> None:
    leave(sweep, 0, "interrupted", 0.5)
    (sweep.cells[0].directory / "config.yaml").unlink()
    assert progress_of(sweep.cells[0], sweep.folder).state == "stopped"


def test_a_summary_without_a_number_of_rounds_stops_nothing(sweep: Sweep) -> None:
    leave(sweep, 0, "completed", 0.5, 0.9)
    path = sweep.cells[0].directory / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "rounds": None}))
    assert progress_of(sweep.cells[0], sweep.folder).rounds == 2


# Rounds


def with_rounds(sweep: Sweep, rounds: int) -> Progress:
    """How far the first cell is where so many rounds are asked for."""
    cell = sweep.cells[0]
    return progress_of(replace(cell, config={**cell.config, "rounds": rounds}), sweep.folder)


def leave_records(sweep: Sweep, status: str, lines: Sequence[dict[str, Any]]) -> None:
    leave(sweep, 0, None)
    directory = sweep.cells[0].directory
    (directory / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    accuracies = [line["accuracy"] for line in lines if line["accuracy"] is not None]
    metrics = {"brier": {"final": 0.25, "smallest": 0.25, "largest": 4.0}}
    summary = {"status": status, "rounds": len(lines), "final_accuracy": accuracies[-1], "metrics": metrics}
    (directory / "summary.json").write_text(json.dumps({**summary, "seconds": 60.0}))


LINES = [
    {"round": 1, "accuracy": 0.5, "metrics": {"brier": 1.0}, "times": {"local_work": 2.0, "evaluate": 1.0}},
    {"round": 2, "accuracy": 0.75, "metrics": {"brier": None}, "times": {"local_work": 4.0}},
    {"round": 3, "accuracy": None, "times": {"local_work": 8.0}},
    {"round": 4, "accuracy": 0.25, "metrics": {"brier": 0.25}, "times": {"local_work": 16.0}},
]


def test_a_finished_cell_of_fewer_rounds_than_asked_for_is_continued(sweep: Sweep) -> None:
    leave_records(sweep, "completed", LINES)
    progress = with_rounds(sweep, 6)
    assert (progress.state, progress.rounds, progress.accuracy) == ("stopped", 4, 0.25)
    assert progress.remark == "accuracy 0.250 after round 4 of 6"
    assert with_rounds(sweep, 4).state == "done"


def test_a_cell_whose_run_stopped_early_is_done(sweep: Sweep) -> None:
    leave_records(sweep, "completed", LINES)
    path = next(iter(sweep.cells)).directory / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "stopped_early": True}))
    assert (with_rounds(sweep, 9).state, with_rounds(sweep, 9).rounds) == ("done", len(LINES))


@pytest.mark.parametrize("status", ["completed", "diverged", "failed", "interrupted"])
def test_a_cell_of_more_rounds_has_the_results_of_those_asked_for(sweep: Sweep, status: str) -> None:
    leave_records(sweep, status, LINES)
    progress = with_rounds(sweep, 2)
    assert (progress.state, progress.rounds, progress.accuracy, progress.seconds) == ("done", 2, 0.75, 7.0)
    assert progress.metrics == {"brier": {"final": 1.0, "smallest": 1.0, "largest": 1.0}}
    assert progress.remark == "accuracy 0.750 after round 2 of 2; its run has 4"
    progress = with_rounds(sweep, 3)
    assert (progress.state, progress.accuracy) == ("done", None)
    assert progress.remark == "after round 3 of 3, which was not evaluated; its run has 4"
    assert with_rounds(sweep, 4).state == {"completed": "done", "interrupted": "stopped"}.get(status, status)


# Earlier results


def leave_earlier(
    sweep: Sweep, position: int, mark: str, change: Callable[[dict[str, Any]], None], **facts: Any
) -> Path:
    """A finished run of a cell's settings under another hash."""
    cell = sweep.cells[position]
    config = {**cell.config, "rounds": 7, "run_name": "other"}
    change(config)
    directory = cell.directory.with_name(cell.directory.name.replace(cell.config_hash, mark))
    directory.mkdir(parents=True)
    write_yaml(directory / "config.yaml", config)
    (directory / "environment.json").write_text(json.dumps(facts))
    (directory / "summary.json").write_text(json.dumps({"status": "completed", "final_accuracy": 0.5}))
    return directory


def test_results_of_another_version_or_plugin_are_named_where_the_cell_is_run_again(sweep: Sweep) -> None:
    def same(config: dict[str, Any]) -> None:
        del config["server"]["sharded"]  # which an older fedsim did not know
        config["runtime"] = {**config["runtime"], "compile_kernels": False}  # resolved by the run

    first = leave_earlier(sweep, 0, "00000000", same, results_version=RESULTS_VERSION - 1)
    leave_earlier(sweep, 1, "00000000", same, results_version=RESULTS_VERSION - 1)
    newer = leave_earlier(sweep, 2, "00000000-3", same, results_version=RESULTS_VERSION + 1)
    edited = leave_earlier(sweep, 3, "00000000", same, results_version=RESULTS_VERSION, plugins={"mine.py": "f00"})
    leave_earlier(sweep, 4, "00000000", same, results_version=RESULTS_VERSION)  # nothing is known against it
    leave_earlier(sweep, 5, "00000000", lambda config: config.update(seed=9), results_version=RESULTS_VERSION - 1)
    leave_earlier(sweep, 6, "00000000", same, results_version=RESULTS_VERSION - 1)
    leave(sweep, 6, "completed", 0.5, 0.9)
    cells = [progress_of(cell, sweep.folder) for cell in sweep.cells]
    assert [cell.state for cell in cells] == ["pending"] * 6 + ["done", "pending"]
    assert [cell.earlier is not None for cell in cells] == [True] * 4 + [False] * 4
    assert cells[0].remark == f"results of version {RESULTS_VERSION - 1} in {first}"
    assert cells[2].remark == f"results of version {RESULTS_VERSION + 1} in {newer}"
    assert cells[3].remark == f"results of other plugins in {edited}"
    *_, counts, older, of_newer, of_plugin = status_lines(cells, None)
    assert counts == "8 cells: 1 done, 7 pending"
    old, again = RESULTS_VERSION - 1, "run again; --status shows where they lie"
    assert older == f"2 cells have results of version {old}, made by an older fedsim: they are {again}"
    assert of_newer == f"1 cell has results of version {old + 2}, made by a newer fedsim: it is {again}"
    assert of_plugin == f"1 cell has results of other plugins, made by another version of a --plugin: it is {again}"


def test_an_earlier_run_whose_files_are_damaged_hides_nothing(sweep: Sweep) -> None:
    for name in ("config.yaml", "environment.json", "summary.json"):
        directory = leave_earlier(sweep, 0, f"{len(name):08d}", lambda config: None, results_version=1)
        (directory / name).write_text("[" * 70_000)
    assert with_rounds(sweep, 2).earlier is None
