"""What a command costs with all that it starts."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from fedsim.benchmark.peers import contest
from fedsim.benchmark.peers.contest import hold
from fedsim.benchmark.peers.contestants import Contestant, Result
from fedsim.benchmark.peers.processes import Cost, run_and_watch
from fedsim.benchmark.peers.task import Task

BURN = "import time; end = time.process_time() + {0}\nwhile time.process_time() < end: pass"


def test_the_work_of_children_counts(tmp_path: Path) -> None:
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN.format(0.6)!r}])"
    cost = run_and_watch([sys.executable, "-c", child], {}, tmp_path / "log")
    assert cost.status == 0
    assert 0.6 <= cost.duration.cpu < 30
    assert cost.duration.wall >= 0.6
    assert cost.peak_bytes > 1 << 20


def contestant(name: str, code: str, package: str = "torch") -> Contestant:
    one = Contestant(name, package, "-c {folder}", lambda folder: Result(0.5, {"local work": [1.0, 3.0, 8.0]}))
    object.__setattr__(one, "command", lambda folder: [sys.executable, "-c", code])
    return one


def test_contestants_run_in_turn_and_failures_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def noted(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Cost:
        order.append(command[-1])
        return run_and_watch(command, environment, log)

    monkeypatch.setattr(contest, "run_and_watch", noted)
    floor, failing = contestant("floor", "pass"), contestant("failing", "raise SystemExit('no luck')")
    missing = contestant("missing", "pass", package="surely-not-installed")
    readings = hold([floor, failing, missing], Task(rounds=1), lambda task, folder: None, turns=2)
    assert order == ["pass", "raise SystemExit('no luck')", "pass"]  # who has failed is not asked again
    by_name = {reading.name: reading for reading in readings}
    assert by_name["floor"].ratio == 1.0
    assert by_name["floor"].figures["local work, ms a round"] == 3000.0
    assert by_name["floor"].figures["evaluate, ms a round"] is None
    assert "no luck" in by_name["failing"].problem
    assert "pip install 'fedsim-byzantine[peers]'" in by_name["missing"].problem
