"""A run that has lost its terminal, or never had one, goes on and ends as it would have."""

import subprocess
import sys
from pathlib import Path

import pytest

from support.launch import ROOT, clean_environment
from support.runs import command, status

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
        (CLOSED, "fedsim", ["rounds=none"], 2),
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
