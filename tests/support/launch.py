"""How tests start programs, as users do: in this process for one rank, through torchrun for several."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
MAIN = ROOT / "fedsim" / "main.py"


@dataclass(frozen=True)
class Finished:
    """A program that has ended."""

    status: int
    out: str
    err: str


def clean_environment() -> dict[str, str]:
    """A user's environment, without what pytest sets; scripts of the tests find `support` in it."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST", "OMP"))}
    paths = [str(TESTS), *filter(None, [environment.get("PYTHONPATH")])]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths)}


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
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=seconds, env=clean_environment(), check=False
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def skip_or_fail(reason: str) -> None:
    """Skip a test that cannot be run on this machine; in CI, which must be able to, fail it."""
    if reason and "CI" in os.environ:
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
