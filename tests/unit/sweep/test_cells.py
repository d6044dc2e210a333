"""The states of cells."""

import fcntl
import json

import pytest

from fedsim.sweep.cells import note_failure, progress_of
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
