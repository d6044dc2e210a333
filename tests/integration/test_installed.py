"""The package without its clone, as `pip install` leaves it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fedsim.config.source import read_yaml
from support.launch import ROOT, clean_environment
from support.runs import RUN, status

PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds nothing but the package."""
    site = tmp_path_factory.mktemp("site-packages")
    shutil.copytree(ROOT / "fedsim", site / "fedsim", ignore=shutil.ignore_patterns("__pycache__"))
    return site


def run(installed: Path, folder: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {**clean_environment(), "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1", **variables}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


LAUNCHES = [  # `-m fedsim` is what a sweep types, below
    ["-c", "import sys; from fedsim.__main__ import run; sys.exit(run())"],
    ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "fedsim"],
]


@pytest.mark.parametrize("launch", LAUNCHES)
def test_a_run_needs_no_clone(installed: Path, tmp_path: Path, launch: list[str]) -> None:
    done = run(installed, tmp_path, *launch, *RUN, "rounds=1", f"output_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert status(tmp_path) == "completed"
    assert str(installed) not in done.stdout + done.stderr


def test_the_default_config_is_the_quickstart(installed: Path) -> None:
    assert read_yaml(installed / "fedsim/config/quickstart.yaml") == read_yaml(ROOT / "configs/quickstart.yaml")


def test_all_that_is_not_python_is_declared_as_data_of_the_package() -> None:
    (line,) = re.findall(r"\[tool.setuptools.package-data\]\nfedsim = (.*)", PROJECT)
    declared = set(json.loads(line))
    there = {path for path in (ROOT / "fedsim").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path.relative_to(ROOT / "fedsim").as_posix() for path in there if path.suffix != ".py"} == declared


def test_the_command_is_declared() -> None:
    assert '[project.scripts]\nfedsim = "fedsim.__main__:run"\n' in PROJECT


@pytest.fixture
def sweep_file(tmp_path: Path) -> str:
    (tmp_path / "base.yaml").write_text("rounds: 1\ndata: {name: synthetic, num_train: 80}\nmodel: {name: mlp}\n")
    (tmp_path / "grid.yaml").write_text("base: base.yaml\naxes: {seed: [5]}\n")
    return "grid.yaml"


def test_a_sweep_types_a_command_that_works_without_a_clone(installed: Path, tmp_path: Path, sweep_file: str) -> None:
    typed = run(installed, tmp_path, "-m", "fedsim.sweep", sweep_file, "--dry-run", "--ranks", "1").stdout
    assert str(installed) not in typed
    (command,) = (line.split() for line in typed.splitlines() if " --config " in line)
    done = run(installed, tmp_path, *command[1:])
    assert done.returncode == 0, done.stderr


def test_slurm_scripts_are_taken_from_a_clone_or_missed(installed: Path, tmp_path: Path, sweep_file: str) -> None:
    words = ["-m", "fedsim.sweep", sweep_file, "--slurm", "--dry-run"]
    done = run(installed, tmp_path, *words, FEDSIM_HOME="")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--slurm: slurm/sweep.sbatch is not part of the installed package" in done.stderr
    done = run(installed, tmp_path, *words, FEDSIM_HOME=str(ROOT))
    assert f"{ROOT}{os.sep}slurm/sweep.sbatch" in done.stdout


def test_the_pages_are_not_written_beside_the_package(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "-m", "fedsim.docs")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert not (installed / "docs").exists()
