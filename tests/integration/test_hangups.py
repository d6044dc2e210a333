"""The terminal of a run is closed: it stops as on any signal, and under nohup it goes on."""

import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

from support.launch import clean_environment
from support.runs import command, lines, start, status, wait_for_rounds


def checkpoint_of_last_round(folder: Path) -> Path:
    return folder / "run" / "checkpoints" / f"round_{len(lines(folder)):06d}.safetensors"


def test_a_hangup_stops_the_ranks_with_a_checkpoint(tmp_path: Path) -> None:
    process = start(2, tmp_path, "rounds=500", "checkpoint.every=500")
    wait_for_rounds(process, tmp_path, 2)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert err.count("nothing is lost: --resume ") == 1
    assert status(tmp_path) == "interrupted"
    assert checkpoint_of_last_round(tmp_path).exists()


def test_under_nohup_the_run_goes_on(tmp_path: Path) -> None:
    process = subprocess.Popen(
        ["nohup", *command(1, tmp_path, "rounds=12")],
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for_rounds(process, tmp_path, 1)
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    assert status(tmp_path) == "completed"


@pytest.mark.parametrize("leader", [True, False])
def test_a_terminal_that_has_gone_takes_no_lines_and_stops_nothing_else(tmp_path: Path, leader: bool) -> None:
    """The leader of the terminal's session is sent SIGHUP, others only find that they cannot write."""
    rounds = 500 if leader else 12  # more than it can do before it is sent the signal
    ours, theirs = pty.openpty()
    session = ["setsid", "--ctty"] if leader else []
    process = subprocess.Popen(
        [*session, *command(1, tmp_path, f"rounds={rounds}")],
        env=clean_environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        text=True,
        start_new_session=not leader,
    )
    os.close(theirs)
    deadline = time.monotonic() + 120
    while len(lines(tmp_path)) < 1:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.close(ours)
    assert process.wait(timeout=120) == (75 if leader else 0)
    assert status(tmp_path) == ("interrupted" if leader else "completed")
    assert checkpoint_of_last_round(tmp_path).exists()
    said = (tmp_path / "run" / "logs" / "rank_0.log").read_text()  # what the terminal would have shown
    assert ("nothing is lost: --resume " if leader else "final test accuracy") in said
    assert f"round {len(lines(tmp_path))}/{rounds}" in said
