"""What ``python -m fedsim.sweep`` says without running anything."""

import sys
from pathlib import Path

import pytest

from fedsim.errors import ConfigError
from fedsim.sweep import __main__ as command
from fedsim.sweep.__main__ import main
from fedsim.sweep.array import max_array_size
from fedsim.sweep.processes import StartCell, fork, start_command
from support.sweeps import sweep_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    data = {"name": "image_folder", "root": str(tmp_path / "nowhere")}
    settings = {"output_dir": str(tmp_path / "runs"), "clients.count": 1, "attack": {"name": "none"}}
    return sweep_file(tmp_path, axes={"seed": [4]}, set={"data": data, **settings})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--dry-run"], "1 cell to run, 1 at a time on 1 rank\n"),
        (["--dry-run", "--slurm"], "sbatch --array=0-0 "),
        (["--status"], "1 cell: 1 pending\n"),
    ],
)
def test_what_runs_nothing_needs_no_data(
    path: Path, options: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([str(path), "--jobs", "1", "--ranks", "1", *options]) == 0
    out, err = capfd.readouterr()
    assert says in out
    assert err.count("fedsim: warning: data.root: there is no folder") == ("--dry-run" in options)


def test_what_runs_needs_them(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([str(path)]) == 2
    assert "cell seed=4: data.root: there is no folder" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("ranks", "gpus", "system", "start", "says"),
    [
        ("1", 0, "linux", fork, ""),
        ("2", 0, "linux", start_command, "it has 2 ranks, which torchrun starts\n"),
        ("1", 1, "linux", fork, ""),
        ("1", 0, "darwin", start_command, "programs of this system may not go on after a fork\n"),
    ],
)
def test_cells_are_forked_where_that_is_possible(
    ranks: str,
    gpus: int,
    system: str,
    start: StartCell,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    class NoRunner:
        def __init__(self, *arguments: object) -> None:
            assert arguments[-1] is start

        def run(self, cells: object) -> bool:
            return True

    monkeypatch.setattr(command, "Runner", NoRunner)
    monkeypatch.setattr(command, "count_gpus", lambda: gpus)
    monkeypatch.setattr(sys, "platform", system)
    path = sweep_file(tmp_path, axes={"seed": [0, 1]}, set={"output_dir": str(tmp_path / "runs")})
    assert main([str(path), "--ranks", ranks]) == 1  # no cell is done
    out = capfd.readouterr().out
    assert out.count("each cell starts as a command of its own, which takes seconds: ") == bool(says)
    assert says in out


@pytest.mark.parametrize(("says", "largest"), [("MaxArraySize            = 77\n", 77), ("", 1001)])
def test_slurm_is_asked_how_large_an_array_may_be(
    says: str, largest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\ncat <<'TEXT'\nMaxJobCount             = 5\n{says}TEXT\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert max_array_size() == largest


def test_a_slurm_without_arrays_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "scontrol").write_text("#!/bin/sh\necho MaxArraySize = 0\n")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(ConfigError, match="allows no array jobs"):
        max_array_size()
