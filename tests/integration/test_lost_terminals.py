"""A run that has lost its terminal, or never had one, goes on and ends as it would have."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch._dynamo  # noqa: F401  # an optimiser imports it; once here, and in no child

from fedsim.benchmark.__main__ import main as benchmark
from fedsim.main import main
from fedsim.ranks import main as ranks
from fedsim.standard_streams import keep_standard_streams
from fedsim.sweep.__main__ import main as sweep
from fuzz.children import run_in_child
from support.launch import ROOT, clean_environment
from support.runs import command, status
from support.sweeps import sweep_file

SHORT = ["rounds=2", "data={name: synthetic, num_train: 200, num_test: 50}", "attack=[]"]


def shell(script: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-c", script, *words],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={**clean_environment(), "PYTHONUNBUFFERED": ""},  # so that something is left to write at the end
        check=False,
    )


@pytest.mark.parametrize("loses", ['"$0" "$@" 2>&1 | head -1; exit ${PIPESTATUS[0]}', '"$0" "$@" <&- >&- 2>&-'])
def test_a_run_without_readers_is_completed_and_its_log_has_what_it_said(tmp_path: Path, loses: str) -> None:
    done = shell(loses, *command(1, tmp_path, *SHORT))
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == ("head" in loses)
    assert done.stderr == ""
    assert status(tmp_path) == "completed"
    said = (tmp_path / "run" / "logs" / "rank_0.log").read_text()
    assert "final test accuracy" in said
    assert "round 2/2" in said


CLOSED, UNREAD = '"$0" "$@" >&- 2>&-', '{ sleep 0.2; "$0" "$@"; } | :; exit ${PIPESTATUS[0]}'


@pytest.mark.parametrize(
    ("script", "module", "words", "status"),
    [
        (UNREAD, "fedsim.sweep", ["--help"], 0),
        (CLOSED, "fedsim.prepare", ["nothing"], 2),
        (CLOSED, "fedsim.ranks", [], 0),
    ],
)
def test_every_command_ends_as_it_would_have_and_quietly(
    script: str, module: str, words: list[str], status: int
) -> None:
    done = shell(script, sys.executable, "-m", module, *words)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


PROGRAMS: list[tuple[Callable[[list[str]], int], list[str]]] = [
    (main, ["--list"]),
    (main, ["--help"]),
    (main, ["--check"]),
    (sweep, ["GRID", "--dry-run"]),
    (sweep, ["GRID", "--status"]),
    (sweep, ["--help"]),
    (benchmark, ["aggregators", "--names", "fedavg", "--columns", "9", "--repeats", "1"]),
    (benchmark, ["step", "--help"]),
    (ranks, []),
    (ranks, ["--help"]),
]
"""What only prints."""


@pytest.mark.parametrize(
    ("program", "words", "lost"),
    [*((*one, "a full disk") for one in PROGRAMS), *((*one, "nobody reads") for one in PROGRAMS[:2])],
)
def test_a_program_fails_if_its_output_was_all_that_was_wanted_and_is_lost(
    tmp_path: Path, program: Callable[[list[str]], int], words: list[str], lost: str
) -> None:
    grid = sweep_file(tmp_path, axes={"seed": [0, 1]}, set={"output_dir": str(tmp_path)})

    def lose_the_output() -> None:
        reads, writes = os.pipe()
        os.close(reads)
        os.dup2(os.open("/dev/full", os.O_WRONLY) if lost == "a full disk" else writes, 1)
        keep_standard_streams()

    def status_of(words: list[str]) -> int:
        try:
            return program(words)
        except SystemExit as leaves:
            return int(leaves.code or 0)

    words = [word.replace("GRID", str(grid)) for word in words]
    status, said = run_in_child(words, tmp_path / "terminal", lose_the_output, status_of)
    complaints = [line for line in said.splitlines() if "standard output" in line]
    if lost == "a full disk":
        assert (status, complaints) == (
            1,
            ["fedsim: standard output cannot be written: No space left on device"],
        ), said
    else:
        assert (status, complaints) == (0, []), said


@pytest.mark.parametrize(("errors", "said"), [("", "fedsim: standard output"), ("2>&1", "")])
def test_a_number_that_is_lost_is_a_failure(errors: str, said: str) -> None:
    done = shell(f'"$0" "$@" > /dev/full {errors}', sys.executable, "-m", "fedsim.ranks")
    assert (done.returncode, done.stderr[: len(said) or None]) == (1, said)
