"""How tests run what users run: in this process for one rank, through torchrun for several."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

# As a rank does: on rows this small, threads that wait for each other cost more than they give.
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parent.parent
MAIN = ROOT / "fedsim" / "main.py"


@dataclass(frozen=True)
class Finished:
    """A program that has ended."""

    status: int
    out: str
    err: str


def torchrun(ranks: int, *arguments: str, script: Path = MAIN, seconds: int = 240) -> Finished:
    """Run a script under torchrun, as the README does (with a free port instead of the usual one)."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc_per_node={ranks}",
        str(script),
    ]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "OMP"))}
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=seconds, env=environment, check=False
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def skip_or_fail(reason: str) -> None:
    """Skip a test that cannot be run on this machine; in CI, which must be able to, fail it."""
    if reason and "CI" in os.environ:
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def final_state(run_directory: Path, round: int) -> torch.Tensor:
    """Global parameters and buffers in the checkpoint after ``round`` rounds."""
    from safetensors.torch import load_file

    return load_file(run_directory / "checkpoints" / f"round_{round:06d}.safetensors")["0"]


@pytest.fixture(autouse=True)
def _root_logger_as_it_was() -> Iterator[None]:
    """Runs in this process add handlers to the root logger, and keep threads' failures out of the terminal."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.raiseExceptions, threading.excepthook = True, threading.__excepthook__
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
