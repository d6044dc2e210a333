"""Which run ``--resume`` continues, and which it leaves alone."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedsim.build import resume
from fedsim.main import main
from fedsim.ranks import _config
from fedsim.results_version import FIRST, RESULTS_VERSION
from support.runs import RUN, lines

SMALL = [*RUN, "data={name: synthetic, num_train: 80, num_test: 20}", "model={name: mlp}", "rounds=2"]


def rounds_in(directory: Path) -> int:
    return len((directory / "metrics.jsonl").read_text().splitlines())


def accuracies(directory: Path) -> list[float]:
    return [json.loads(line)["accuracy"] for line in (directory / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., int]:
    def of(*more: str) -> int:
        return main([*SMALL, f"output_dir={tmp_path}", *more])

    return of


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    values = yaml.safe_load(path.read_text())  # JSON is YAML
    change(values)
    path.write_text(json.dumps(values))


def test_the_newest_run_that_fits_goes_on(
    run: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for momentum in ("0.5", "0.5", "0.25"):
        assert run(f"clients.momentum={momentum}") == 0
    assert run("rounds=3", "--resume") == 0
    assert [rounds_in(tmp_path / name) for name in ("run", "run-2", "run-3")] == [2, 3, 2]
    capfd.readouterr()
    assert run("rounds=3", "--resume", "clients.momentum=0.125", "seed=8") == 2
    said = capfd.readouterr().err
    assert f"{tmp_path}/run-3 was run with other values of clients.momentum, seed, and 2 more of this name" in said


def test_a_job_that_is_requeued_goes_on_in_its_own_directory(
    run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for job in ("17", "18"):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        assert run() == 0
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert run("rounds=4", "--resume") == 0
    assert [rounds_in(tmp_path / name) for name in ("run", "run-2")] == [4, 2]


def test_keys_that_an_older_version_did_not_know_have_their_defaults(
    run: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0

    def forget(values: dict[str, Any]) -> None:
        del values["clients"]["proximal"], values["server"], values["aggregator"]["clip"], values["data"]["normalize"]

    edit(tmp_path / "run" / "config.yaml", forget)
    assert run("rounds=3", "--resume") == 0
    assert len(lines(tmp_path)) == 3
    edit(tmp_path / "run" / "config.yaml", forget)
    capfd.readouterr()
    assert run("rounds=4", "--resume", "clients.proximal=0.5", "server.optimizer.lr=2.0") == 2
    assert "other values of clients.proximal, server.optimizer.lr;" in capfd.readouterr().err


def test_a_run_of_another_version_of_results_is_refused(
    run: Callable[..., int], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run() == 0
    monkeypatch.setattr(resume, "RESULTS_VERSION", RESULTS_VERSION + 1)
    assert run("rounds=3", "--resume") == 2
    assert (
        f"has results of version {RESULTS_VERSION}, and this fedsim gives version {RESULTS_VERSION + 1}"
        in capfd.readouterr().err
    )
    monkeypatch.undo()
    edit(tmp_path / "run" / "environment.json", lambda values: values.pop("results_version"))
    assert run("rounds=3", "--resume") == 2  # as old as that
    assert f"has results of version {FIRST}" in capfd.readouterr().err
    monkeypatch.setattr(resume, "RESULTS_VERSION", FIRST)
    assert run("rounds=3", "--resume") == 0


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_the_records_of_a_finished_run_without_checkpoints_stay(
    run: Callable[..., int], more: Sequence[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    directory = tmp_path / "run"
    shutil.rmtree(directory / "checkpoints")
    kept = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and "logs" not in path.parts}
    capfd.readouterr()
    assert run("--resume", *more) == 0
    assert "its records stay as they are" in capfd.readouterr().err
    assert run("--resume", "rounds=5", *more) == 2
    assert "is finished after 2 rounds and its checkpoints were deleted" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in kept if path.name != ".lock"} == {
        path: content for path, content in kept.items() if path.name != ".lock"
    }
    assert not (directory / "checkpoints").exists() or not list((directory / "checkpoints").iterdir())


def test_seconds_are_those_of_the_whole_run(run: Callable[..., int], tmp_path: Path) -> None:
    assert run() == 0
    summary = tmp_path / "run" / "summary.json"
    edit(summary, lambda values: values.update(seconds=500.0))
    assert run("rounds=3", "--resume") == 0
    assert 500 < json.loads(summary.read_text())["seconds"] < 620
    summary.unlink()  # as if it had been killed: what is known is how long its rounds took
    metrics = tmp_path / "run" / "metrics.jsonl"
    records = [json.loads(line) for line in metrics.read_text().splitlines()]
    records[0]["times"] = {"local_work": 300.0, "evaluate": 400.0}
    metrics.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    assert run("rounds=4", "--resume") == 0
    assert 700 < json.loads(summary.read_text())["seconds"] < 820


def test_a_run_is_named_by_its_directory_and_keeps_its_settings(
    run: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not the newest of the name, nor the quickstart's settings; more rounds may be asked for."""
    for _ in range(2):
        assert run("clients.momentum=0.25") == 0
    before = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert main(["--resume", str(tmp_path / "run"), "rounds=4"]) == 0
    assert [rounds_in(tmp_path / name) for name in ("run", "run-2")] == [4, 2]
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text()) == {**before, "rounds": 4}
    whole = tmp_path / "whole"
    assert run("clients.momentum=0.25", "rounds=4", "run_name=whole") == 0
    assert accuracies(whole) == accuracies(tmp_path / "run")
    assert _config(["--resume", str(whole)]).rounds == _config(["rounds=4"]).rounds  # python -m fedsim.ranks
    capfd.readouterr()
    assert main([f"--resume={tmp_path / 'run-2'}", "clients.momentum=0.5"]) == 2
    said = capfd.readouterr().err
    assert f"{tmp_path}/run-2 was run with other values of clients.momentum; start a new run" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--resume", "{}/none"], "--resume: there is no run in {}/none: no config.yaml; name a run's directory"),
        (["--resume", "{}/run", "--config", "x.yaml"], "--resume: {}/run has a config.yaml of its own; leave"),
        (["run_name=run", "output_dir={}", "rounds=3", "--resume"], "--resume {}/run goes on with its own"),
    ],
)
def test_what_resume_cannot_continue_is_said(
    words: list[str], says: str, run: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    assert main([word.format(tmp_path) for word in words]) == 2
    assert says.format(tmp_path) in capfd.readouterr().err


def test_a_run_is_not_made_shorter_than_it_is(
    run: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Resumed without its ``rounds``, a stopped run of 50 rounds counted as completed after 16."""
    assert run("rounds=4") == 0
    assert run("rounds=3", "--resume") == 2
    said = capfd.readouterr().err
    assert f"rounds: 3 is too few: {tmp_path}/run was started with rounds=4 and has 4 rounds behind it" in said
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["rounds"] == 4
    assert run("rounds=4", "--resume") == 0
