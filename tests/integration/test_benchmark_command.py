"""The benchmarks that open a process group, as a user starts them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fedsim.benchmark.__main__ import main
from support.launch import ROOT


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fedsim.benchmark", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)


SHARDED = ["sharded", "--names", "fedseca", "krum"]  # it compares the steps, too


@pytest.mark.parametrize(
    ("what", "names"),
    [(["gather"], ["fedsim", "dist.gather"]), (["broadcast"], ["fedsim", "dist.broadcast"]), (SHARDED, SHARDED[2:])],
    ids=["gather", "broadcast", "sharded"],
)
def test_they_start_their_own_ranks(tmp_path: Path, what: list[str], names: list[str]) -> None:
    done = run(*what, "--clients", "2", "--columns", "70_000", "--repeats", "2", "--json", str(tmp_path / "g.json"))
    assert done.returncode == 0, done.stderr
    stored = json.loads((tmp_path / "g.json").read_text())
    assert [reading["name"] for reading in stored["readings"]] == names
    assert "2 ranks" in stored["title"]


def test_round_is_reported_phase_by_phase_in_plain_loops(tmp_path: Path) -> None:
    few = ["clients.count=3", "clients.local_steps=2", "attack.num_byzantine=1"]
    assert main(["round", *few, "--repeats", "1", "--threads", "1", "--json", str(tmp_path / "r.json")]) == 0
    readings = {
        reading["name"].strip(): reading for reading in json.loads((tmp_path / "r.json").read_text())["readings"]
    }
    assert {"round", "round less evaluation", "local_work", "gather", "aggregate"} <= readings.keys()
    whole = readings["round"]["seconds"][0]
    phases = readings.keys() - {"round", "round less evaluation"}
    assert sum(readings[name]["seconds"][0] for name in phases) <= whole


def test_generated_pages_are_current(tmp_path: Path) -> None:
    check = [sys.executable, "-m", "fedsim.docs", "--check"]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, f"run python -m fedsim.docs: {done.stdout}{done.stderr}"
