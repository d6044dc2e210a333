"""Rules of the house that a linter or a type checker can see."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SHADOWING = """
bisect calendar code collections copy csv datasets distributed enum evaluate heapq inspect json logging math metrics
numbers operator optim platform profile queue random resource secrets select signal statistics string struct
tensorboard test token trace transforms types typing utils
"""


@pytest.mark.timeout(900)  # without its cache, and beside other tests, mypy takes minutes
@pytest.mark.parametrize("command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]])
def test_linter_and_type_checker_are_silent(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_beside_main_shadows_another() -> None:
    names = {path.stem for path in (ROOT / "fedsim").iterdir()}
    assert not names & ({*SHADOWING.split()} | set(sys.stdlib_module_names))


def test_imports_go_downwards_only() -> None:
    """The contract is in pyproject.toml, the picture in ARCHITECTURE.md."""
    lint_imports = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [str(lint_imports), "--no-cache"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_examples_of_one_file_run_alone() -> None:
    """As CONTRIBUTING.md says: nothing is registered twice."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "fedsim/attacks/ipm.py"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_only_comm_talks_to_torch_distributed() -> None:
    for path in (ROOT / "fedsim").rglob("*.py"):
        yardstick = path.match("benchmark/gather.py") or path.match("benchmark/broadcast.py")  # torch's own, timed
        if "comm" not in path.parts and not yardstick:
            assert "import torch.distributed" not in path.read_text(), path


@pytest.mark.parametrize(
    "script",
    ["launch/local.sh", "launch/common.sh", "slurm/job.sh", "slurm/sweep.sbatch", "slurm/site.env", ".ci/run"],
)
def test_what_a_shell_reads_has_the_line_ends_of_unix_in_every_checkout(script: str) -> None:
    command = ["git", "check-attr", "eol", "--", script]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == f"{script}: eol: lf", done.stderr
    assert b"\r" not in (ROOT / script).read_bytes()


def test_the_source_compiles_without_a_warning_on_every_python_that_is_here() -> None:
    program = "import pathlib, sys\nfor file in pathlib.Path('fedsim').rglob('*.py'):\n"
    program += "    compile(file.read_text(encoding='utf-8'), str(file), 'exec')"
    found = {sys.executable, *filter(None, (shutil.which(f"python3.{minor}") for minor in range(10, 20)))}
    for python in sorted(found):
        if subprocess.run([python, "--version"], capture_output=True, check=False).returncode:
            continue  # pyenv's name of a version that is not chosen
        done = subprocess.run(
            [python, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
