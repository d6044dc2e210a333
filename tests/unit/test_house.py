"""Rules of the house that a linter or a type checker can see."""

import os
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


@pytest.mark.parametrize("file", ["fedsim/aggregators/krum.py", "fedsim/attacks/ipm.py"])
def test_the_examples_of_one_file_run_alone(file: str) -> None:
    """As CONTRIBUTING.md says: nothing is registered twice."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_only_comm_talks_to_torch_distributed() -> None:
    for path in (ROOT / "fedsim").rglob("*.py"):
        yardstick = path.match("benchmark/gather.py")  # it times torch's own gather beside ours
        if "comm" not in path.parts and not yardstick:
            assert "import torch.distributed" not in path.read_text(), path
