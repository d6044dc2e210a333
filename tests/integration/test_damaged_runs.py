"""Directories of runs in which something is wrong: the resumed run is right, or says what is not."""

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from fedsim.main import main
from support.runs import final_state, lines, records

SMALL = [
    "data={name: synthetic, num_train: 60, num_test: 40, num_classes: 4, shape: [1, 6, 6]}",
    "model={name: mlp, hidden: [8]}",
    "attack={name: sign_flip, num_byzantine: 1}",
    "aggregator={name: cwmed}",
    "clients.count=4",
    "clients.local_steps=3",
    "clients.optimizer={name: sgd, lr: 0.2}",
    "checkpoint={every: 2, keep: 3}",
    "tracking.tensorboard=false",
    "run_name=run",
]
"""After 5 rounds there are checkpoints of rounds 2, 4 and 5."""


def execute(folder: Path, *more: str) -> int:
    return main([*SMALL, f"output_dir={folder}", *more])


def summary(folder: Path) -> dict[str, Any]:
    values = json.loads((folder / "run" / "summary.json").read_text())
    return {key: value for key, value in values.items() if key != "seconds"}


def checkpoint(folder: Path, round_number: int) -> Path:
    return folder / "run" / "checkpoints" / f"round_{round_number:06d}.safetensors"


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 7 rounds that was never stopped, one of 5, and one of 5 with another seed."""
    folder = tmp_path_factory.mktemp("past")
    assert execute(folder / "whole", "rounds=7") == 0
    assert execute(folder / "stopped", "rounds=5") == 0
    assert execute(folder / "other", "rounds=5", "seed=11") == 0
    return folder


@pytest.fixture
def stopped(past: Path, tmp_path: Path) -> Path:
    """The run of 5 rounds, copied to another place."""
    shutil.copytree(past / "stopped", tmp_path / "here")
    return tmp_path / "here"


def resume(folder: Path, capfd: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    capfd.readouterr()
    return execute(folder, "rounds=7", "--resume", *more), capfd.readouterr().err


def assert_as_never_stopped(folder: Path, past: Path) -> None:
    assert records(folder) == records(past / "whole")
    assert summary(folder) == summary(past / "whole")
    assert final_state(folder / "run", 7).equal(final_state(past / "whole" / "run", 7))


# Checkpoints -------------------------------------------------------------------------------------


def of_another_run(folder: Path, past: Path) -> None:
    shutil.copy(checkpoint(past / "other", 5), checkpoint(folder, 5))


def of_another_round(folder: Path, past: Path) -> None:
    shutil.copy(checkpoint(folder, 2), checkpoint(folder, 5))


def with_another_name(folder: Path, past: Path) -> None:
    checkpoint(folder, 5).rename(checkpoint(folder, 31))


def of_no_run(folder: Path, past: Path) -> None:
    """As an older fedsim has written it, into a run that is not as old."""
    metadata = metadata_of(checkpoint(past / "other", 5))
    kept = {key: metadata[key] for key in ("format", "round", "state", "checksum", "frozen")}
    save_file(load_file(checkpoint(past / "other", 5)), checkpoint(folder, 5), kept)


def no_file(folder: Path, past: Path) -> None:
    checkpoint(folder, 5).unlink()
    os.mkfifo(checkpoint(folder, 5))


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (of_another_run, r"round_000005.safetensors belongs to another run: put aside as round_000005.foreign"),
        (of_another_round, r"round_000005.safetensors holds round 2, not the round of its name: put aside"),
        (with_another_name, r"round_000031.safetensors holds round 5, not the round of its name: put aside"),
        (of_no_run, r"round_000005.safetensors belongs to another run: put aside as round_000005.foreign"),
        (no_file, r"round_000005.safetensors is damaged \(it is no file\): put aside as round_000005.damaged"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_put_aside_and_the_one_before_is_taken(
    wrong: Callable[[Path, Path], None], said: str, past: Path, stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong(stopped, past)
    status, err = resume(stopped, capfd)
    assert status == 0
    assert re.search(said, err)
    assert "resumed after round 4" in err
    assert_as_never_stopped(stopped, past)


def test_a_run_whose_checkpoints_are_all_of_another_is_not_resumed(
    past: Path, stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(stopped / "run" / "checkpoints")
    shutil.copytree(past / "other" / "run" / "checkpoints", stopped / "run" / "checkpoints")
    before = lines(stopped)
    (stopped / "run" / "summary.json").unlink()
    for _ in range(2):  # again, when there are only those that were put aside
        status, err = resume(stopped, capfd)
        assert status == 1
        assert "checkpoints is damaged or belongs to another run: start a new run" in err
        assert lines(stopped) == before
    shutil.rmtree(stopped / "run" / "checkpoints")
    assert resume(stopped, capfd)[0] == 0
    assert_as_never_stopped(stopped, past)


def test_settings_and_data_that_were_changed_behind_its_back_are_noticed(
    stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = stopped / "run" / "config.yaml"
    config.write_text(config.read_text().replace("seed: 0\n", "seed: 4\n"))
    (stopped / "run" / "partition.json").unlink()
    status, err = resume(stopped, capfd, "seed=4")
    assert status == 1
    assert err.count("was made with other settings or data: put aside") == 3


@pytest.mark.parametrize("option", ["--resume", "--resume-or-start"])
def test_a_run_without_its_config_is_an_error_and_not_a_new_run(
    option: str, stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (stopped / "run" / "config.yaml").unlink()
    (stopped / "run" / "metrics.jsonl").unlink()
    capfd.readouterr()
    assert execute(stopped, "rounds=7", option) == 2
    assert f"{stopped}/run holds a run, but its config.yaml is missing" in capfd.readouterr().err
    assert [path.name for path in stopped.iterdir()] == ["run"]
    assert checkpoint(stopped, 5).exists()
    assert execute(stopped, "rounds=1") == 0  # a new run is one, all the same
    assert (stopped / "run-2" / "summary.json").exists()


def test_a_run_without_its_environment_is_refused_by_that_name(
    stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (stopped / "run" / "environment.json").write_text("[]")
    status, err = resume(stopped, capfd)
    assert status == 2
    assert "run/environment.json is missing or damaged" in err


# Records -----------------------------------------------------------------------------------------

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


# Older runs --------------------------------------------------------------------------------------


def made_older(folder: Path) -> None:
    """As a fedsim has left it that knew neither ids of runs nor copies of records."""
    environment = folder / "run" / "environment.json"
    values = json.loads(environment.read_text())
    del values["run"]
    environment.write_text(json.dumps(values))
    (folder / "run" / "metrics.backup").unlink()
    for path in (folder / "run" / "checkpoints").iterdir():
        metadata = metadata_of(path)
        save_file(
            load_file(path), path, {key: metadata[key] for key in ("format", "round", "state", "checksum", "frozen")}
        )


def test_an_older_run_goes_on_and_what_it_lacks_is_named(
    past: Path, stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made_older(stopped)
    shutil.copytree(stopped, stopped.with_name("there"))
    status, err = resume(stopped, capfd)
    assert status == 0
    assert "damaged" not in err
    assert_as_never_stopped(stopped, past)
    assert execute(stopped, "rounds=8", "--resume") == 0  # its next checkpoints fit as well
    damaged = stopped.with_name("there")
    shutil.copy(checkpoint(past / "other", 5), checkpoint(damaged, 6))
    metrics = damaged / "run" / "metrics.jsonl"
    metrics.write_bytes(b"".join(metrics.read_bytes().splitlines(keepends=True)[1:]))
    status, err = resume(damaged, capfd)
    assert status == 0
    assert "round_000006.safetensors belongs to another run" in err
    assert "metrics.jsonl was damaged: round 1 is lost" in err
