"""Cells in SLURM's queue, with commands that stand for SLURM's."""

from pathlib import Path

import pytest

from fedsim.run_directory.lock import hold
from fedsim.sweep.__main__ import main
from fedsim.sweep.plan import Sweep, read_sweep
from fedsim.sweep.submitted import last_words
from support.sweeps import leave, sweep_file


class Slurm:
    """Commands on PATH: sbatch gives numbers from 17 on, and squeue prints ``queue``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._command("scontrol", "echo 'MaxArraySize = 3'")
        self._command("sbatch", f'echo "$*" >> {folder}/typed; echo $((16 + $(wc -l < {folder}/typed)))')
        self.squeue(f"cat {folder}/queue")
        self.queue()

    def _command(self, name: str, body: str) -> None:
        (self.folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.folder / name).chmod(0o755)

    def squeue(self, body: str) -> None:
        self._command("squeue", body)

    def queue(self, *lines: str) -> None:
        (self.folder / "queue").write_text("".join(f"{line}\n" for line in lines))

    @property
    def submitted(self) -> int:
        typed = self.folder / "typed"
        return len(typed.read_text().splitlines()) if typed.exists() else 0


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    stand_in = Slurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", str(stand_in.folder), prepend=":")
    return stand_in


@pytest.fixture
def path(tmp_path: Path) -> Path:
    settings = {"output_dir": str(tmp_path / "runs"), "clients.count": 2, "attack": {"name": "none"}}
    return sweep_file(tmp_path, axes={"seed": [3, 5, 8, 13]}, set=settings)


@pytest.fixture
def seeds(path: Path) -> Sweep:
    return read_sweep(path)


def said(path: Path, capfd: pytest.CaptureFixture[str], *options: str, status: int = 0) -> str:
    capfd.readouterr()
    assert main([str(path), *options]) == status
    printed = capfd.readouterr()
    return printed.err if status == 2 else printed.out


def test_cells_in_the_queue_are_not_submitted_again(
    path: Path, slurm: Slurm, capfd: pytest.CaptureFixture[str]
) -> None:
    said(path, capfd, "--slurm")
    assert slurm.submitted == 2  # four cells, three in an array
    slurm.queue("17 0 PENDING", "17 1 RUNNING", "17 2 REQUEUED", "18 0 COMPLETING")
    text = said(path, capfd, "--slurm")
    assert "3 cells in SLURM's queue (job 17): skipped here; `scancel 17` takes them out" in text
    assert "array job 19 of 1 cell is submitted" in text
    slurm.queue("17 0 PENDING", "17 1 RUNNING", "17 2 PENDING", "19 0 PENDING")
    assert said(path, capfd, "--slurm", "--retry", "failed").endswith(
        "nothing to submit: every cell has ended, is running or in the queue\n"
    )
    assert slurm.submitted == 3
    status = said(path, capfd, "--status")
    assert "4 cells: 4 queued\n" in status
    assert "seed=13  queued    in SLURM's queue as part of job 19" in status


def test_an_array_that_slurm_has_forgotten_is_submitted_again(
    path: Path, slurm: Slurm, capfd: pytest.CaptureFixture[str]
) -> None:
    said(path, capfd, "--slurm", "--only", "seed=5")
    slurm.squeue("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert "array job 18 of 1 cell is submitted" in said(path, capfd, "--slurm", "--only", "seed=5")


def test_where_the_queue_is_not_known_nothing_is_submitted_twice(
    path: Path, slurm: Slurm, capfd: pytest.CaptureFixture[str]
) -> None:
    said(path, capfd, "--slurm", "--only", "seed=5")
    slurm.squeue("echo 'Unable to contact slurm controller' >&2; exit 1")
    assert "whether job 17 still waits: Unable to contact" in said(path, capfd, "--slurm", status=2)
    assert slurm.submitted == 1
    assert "4 cells: 4 pending" in said(path, capfd, "--status")


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        ("fedsim: warning: old\nfedsim: configuration error: data.root: gone\nTraceback\n", "data.root: gone"),
        (
            "job 17, start 1\nslurm_script: line 9: torchrun: command not found\nsrun: error: x: task 0: Exited\n\n",
            "torchrun: command not found",
        ),
    ],
)
def test_a_task_that_failed_before_its_run_began_says_why(
    path: Path, seeds: Sweep, slurm: Slurm, printed: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    said(path, capfd, "--slurm")
    leave(seeds, 1, "interrupted", 0.5)
    for index in (0, 1, 2):
        (seeds.folder / "cells" / f"17_{index}.out").write_text(printed)
    slurm.queue("17 2 RUNNING")
    status = said(path, capfd, "--status")
    assert "4 cells: 1 queued, 1 stopped, 1 failed, 1 pending" in status
    line = next(line for line in status.splitlines() if line.startswith("seed=3 "))
    assert reason in line
    assert line.endswith("17_0.out)")
    assert "array job 19 of 3 cells" in said(path, capfd, "--slurm", "--retry", "failed")


@pytest.mark.parametrize(
    "printed",
    [
        "fedsim: run directory runs/a\nfinal test accuracy 0.9\nlook at it: tensorboard --logdir runs\n",
        "job 17, start 1\nslurmstepd: error: *** STEP 17.0 ON n1 CANCELLED AT 2026-01-01T00:00:00 ***\n",
    ],
)
def test_a_task_that_ran_or_was_cancelled_is_submitted_again(
    path: Path, seeds: Sweep, slurm: Slurm, printed: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its run directory may have been removed, to have it done again."""
    said(path, capfd, "--slurm")
    (seeds.folder / "cells" / "17_0.out").write_text(printed)
    slurm.queue("")
    assert "4 cells: 4 pending" in said(path, capfd, "--status")


def test_two_cannot_submit_at_the_same_time(path: Path, seeds: Sweep, capfd: pytest.CaptureFixture[str]) -> None:
    (seeds.folder / "cells").mkdir(parents=True)
    held = hold(seeds.folder / "cells" / "submission.lock")
    assert "is submitting cells of this sweep; try again" in said(path, capfd, "--slurm", status=2)
    held.release()


def test_last_words_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    assert [last_words(tmp_path / name) for name in ("empty", "none")] == ["", ""]
