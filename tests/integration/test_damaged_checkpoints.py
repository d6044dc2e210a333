"""Checkpoints, configurations and older runs in which something is wrong: what does not fit is put aside by name."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from support.runs import lines
from support.stopped_runs import assert_as_never_stopped, checkpoint, execute, resume


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


def test_settings_and_data_that_were_changed_behind_its_back_are_noticed_and_may_be_changed_back(
    past: Path, stopped: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = stopped / "run" / "config.yaml"
    before = config.read_text()
    config.write_text(before.replace("seed: 0\n", "seed: 4\n"))
    (stopped / "run" / "partition.json").unlink()
    for _ in range(2):
        status, err = resume(stopped, capfd, "seed=4")
        assert status == 2
        assert "was made with other settings or data than there are now; undo the change" in err
    config.write_text(before)
    (stopped / "run" / "partition.json").unlink(missing_ok=True)
    assert resume(stopped, capfd)[0] == 0
    assert_as_never_stopped(stopped, past)


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
