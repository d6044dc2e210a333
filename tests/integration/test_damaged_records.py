"""Records of a run in which something is wrong: they are restored, or what is lost is said."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from support.runs import lines, records
from support.stopped_runs import assert_as_never_stopped, checkpoint, execute, resume, summary

Lines = list[bytes]


def best_lost(rows: Lines) -> Lines:
    return rows[:1]


def middle_lost(rows: Lines) -> Lines:
    return [rows[0], *rows[3:]]


def cut_within(rows: Lines) -> Lines:
    return [*rows[:3], rows[3][:70]]


def higher(rows: Lines) -> Lines:
    """One digit: the accuracy of round 2 becomes 1.x, as by a bit that has flipped."""
    return [rows[0], rows[1].replace(b'"accuracy": 0', b'"accuracy": 1'), *rows[2:]]


def no_text(rows: Lines) -> Lines:
    return [*rows[:4], rows[4].replace(b"macro", b"m\xfe\xfero")]


def zeros(rows: Lines) -> Lines:
    return [b"\0" * sum(map(len, rows))]


def twice(rows: Lines) -> Lines:
    return [*rows, rows[1], rows[1]]


def turned_round(rows: Lines) -> Lines:
    return [rows[3], rows[0], rows[4], rows[1], rows[2]]


def renumbered(rows: Lines) -> Lines:
    return [*rows[:2], rows[2].replace(b'{"round": 3', b'{"round": 4'), *rows[3:]]


def brackets(rows: Lines) -> Lines:
    return [*rows[:2], b"[" * 90_000 + b"\n", *rows[2:]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (best_lost, "rounds 2 to 5 are restored from metrics.backup"),
        (middle_lost, "rounds 2 to 3 are restored from metrics.backup"),
        (cut_within, "rounds 4 to 5 are restored from metrics.backup"),
        (higher, "round 2 is restored from metrics.backup"),
        (no_text, "round 5 is restored from metrics.backup"),
        (zeros, "rounds 1 to 5 are restored from metrics.backup"),
        (twice, "its lines are in order again"),
        (turned_round, "its lines are in order again"),
        (renumbered, "round 3 is restored from metrics.backup"),
        (brackets, "its lines are in order again"),
    ],
)
def test_damaged_metrics_are_restored_and_said(
    change: Callable[[Lines], Lines], said: str, past: Path, stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    metrics = stopped / "run" / "metrics.jsonl"
    metrics.write_bytes(b"".join(change(metrics.read_bytes().splitlines(keepends=True))))
    status, err = resume(stopped, capfd)
    assert status == 0
    assert err.count("was damaged") == 1
    assert f"{metrics} was damaged: {said}" in err
    assert_as_never_stopped(stopped, past)


def test_records_that_are_lost_with_their_copy_are_named_and_the_summary_is_right(
    past: Path, stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("metrics.jsonl", "metrics.backup"):
        path = stopped / "run" / name
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[::4]))
    status, err = resume(stopped, capfd)
    assert status == 0
    assert "metrics.jsonl was damaged: rounds 2 to 4 are lost" in err
    assert [record["round"] for record in records(stopped)] == [1, 5, 6, 7]
    assert summary(stopped) == summary(past / "whole")


@pytest.mark.parametrize("taken", [["metrics.jsonl"], ["metrics.jsonl", "metrics.backup"]])
def test_records_of_another_run_are_not_taken_for_its_own(
    taken: Sequence[str], past: Path, stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in taken:
        shutil.copy(past / "other" / "run" / name, stopped / "run" / name)
    status, err = resume(stopped, capfd)
    assert status == 0
    assert summary(stopped) == summary(past / "whole")
    restored = "rounds 1 to 5 are restored from metrics.backup"
    doubtful = "rounds 1 to 5 are perhaps not as this run has recorded them"
    assert (restored if len(taken) == 1 else doubtful) in err


@pytest.mark.parametrize("name", ["metrics.jsonl", "metrics.backup", "summary.json", "failure.txt"])
def test_a_folder_where_a_file_should_be_is_put_aside(
    name: str, past: Path, stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = stopped / "run" / name
    path.unlink(missing_ok=True)
    path.mkdir()
    (path / "kept").touch()
    status, err = resume(stopped, capfd)
    assert status == 0
    aside = path.with_suffix(".damaged")
    assert f"{path} is no file: put aside as {aside.name}" in err
    assert (aside / "kept").exists()
    assert_as_never_stopped(stopped, past)


@pytest.mark.parametrize(
    ("content", "checkpoints"),
    [
        (b"[" * 60_000, True),
        (b'{"seconds": NaN}', True),
        (b'{"status": "completed", "rounds": 1e400}', False),
    ],
)
def test_a_damaged_summary_stops_no_resume(
    content: bytes, checkpoints: bool, past: Path, stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (stopped / "run" / "summary.json").write_bytes(content)
    if not checkpoints:
        shutil.rmtree(stopped / "run" / "checkpoints")
    assert resume(stopped, capfd)[0] == 0
    assert_as_never_stopped(stopped, past)
    assert 0 < json.loads((stopped / "run" / "summary.json").read_text())["seconds"] < 600


def test_the_end_of_a_finished_run_is_said_without_numbers_that_are_damaged(
    stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(stopped / "run" / "checkpoints")
    (stopped / "run" / "summary.json").write_text('{"status": "completed", "rounds": 5, "final_accuracy": [0.5]}')
    assert execute(stopped, "rounds=5", "--resume") == 0
    assert "its test accuracy is not known" in capfd.readouterr().out


def test_a_run_that_is_whole_says_nothing_and_keeps_its_lines_to_the_byte(
    past: Path, stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = lines(stopped)
    status, err = resume(stopped, capfd)
    assert status == 0
    assert "damaged" not in err
    assert "aside" not in err
    assert lines(stopped)[:5] == before
    assert_as_never_stopped(stopped, past)


def test_lines_after_the_checkpoint_and_a_line_cut_off_are_what_a_kill_leaves(
    past: Path, stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint(stopped, 5).unlink()
    for name in ("metrics.jsonl", "metrics.backup"):
        path = stopped / "run" / name
        path.write_bytes(path.read_bytes()[:-30])
    status, err = resume(stopped, capfd)
    assert status == 0
    assert "damaged" not in err
    assert_as_never_stopped(stopped, past)


def test_the_records_of_a_finished_run_without_checkpoints_are_restored(
    stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(stopped / "run" / "checkpoints")
    metrics = stopped / "run" / "metrics.jsonl"
    before = metrics.read_bytes()
    metrics.write_bytes(before[:-9])
    capfd.readouterr()
    assert execute(stopped, "rounds=5", "--resume") == 0
    assert "round 5 is restored from metrics.backup" in capfd.readouterr().err
    assert metrics.read_bytes() == before
