"""Cells that others run are in use: waited for, never failed. What stands for a run is one line of shell."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fedsim.run_directory.lock import RunLock, hold
from fedsim.sweep import runner
from fedsim.sweep.cells import Progress, claim_on, failure_of, progress_of
from fedsim.sweep.plan import Cell, Sweep
from fedsim.sweep.runner import Runner, Slots
from support.sweeps import leave
from support.waiting import wait_until

DONE = """mkdir -p '{0}' && echo >'{0}/config.yaml' && echo '{{"status": "completed"}}' >'{0}/summary.json'"""


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "LOOK_AGAIN", 0.05)
    _run_is(monkeypatch, DONE)


def _run_is(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    def command(sweep: Sweep, cell: Cell, ranks: int, plugins: Sequence[Path]) -> list[str]:
        return ["sh", "-c", script.format(cell.directory)]

    monkeypatch.setattr(runner, "command", command)


def run(
    sweep: Sweep,
    positions: Sequence[int],
    states: Sequence[str] = ("pending", "stopped"),
    reports: list[Progress] | None = None,
) -> list[Progress]:
    reports = [] if reports is None else reports
    cells = [sweep.cells[position] for position in positions]
    assert Runner(sweep, Slots(1, 1), [], states, lambda progress, ended: reports.append(progress)).run(cells)
    return reports


def after(reports: list[Progress], count: int, action: Callable[[], object]) -> threading.Thread:
    """Does something when so many reports have come."""

    def wait_and_act() -> None:
        wait_until(lambda: len(reports) >= count)
        action()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


def claim(sweep: Sweep, position: int) -> RunLock:
    path = claim_on(sweep.cells[position], sweep.folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    return hold(path)


@pytest.mark.parametrize("left", ["completed", "diverged", None])
def test_a_cell_of_another_sweep_is_waited_for(sweep: Sweep, left: str | None) -> None:
    """And run, if the other has given it up."""
    held = claim(sweep, 0)
    assert progress_of(sweep.cells[0], sweep.folder).state == "running"

    def end() -> None:
        if left is not None:
            leave(sweep, 0, left, 0.5)
        held.release()

    reports: list[Progress] = []
    other = after(reports, 2, end)
    run(sweep, [0, 1], reports=reports)
    other.join()
    ended = {"completed": "done", "diverged": "diverged", None: "done"}[left]
    assert [(one.cell, one.state) for one in reports] == [
        (sweep.cells[0], "running"),  # said once
        (sweep.cells[1], "done"),  # waiting holds up no other cell
        (sweep.cells[0], ended),
    ]
    assert reports[0].holder.startswith("process ")
    assert failure_of(sweep.cells[0], sweep.folder) == ""


def test_a_run_that_no_sweep_has_started_is_waited_for(sweep: Sweep) -> None:
    leave(sweep, 0, None, 0.5)
    held = hold(sweep.cells[0].directory / ".lock")
    reports: list[Progress] = []
    other = after(reports, 1, held.release)
    assert [one.state for one in run(sweep, [0], reports=reports)] == ["running", "done"]
    other.join()


def test_a_run_that_is_faster_by_a_moment_is_no_failure(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both began before there was a directory."""
    once = f"if mkdir {tmp_path}/once; then echo 'fedsim: --resume: X is in use by process 7' >&2; exit 2; fi; "
    _run_is(monkeypatch, once + DONE)
    assert [one.state for one in run(sweep, [0])] == ["running", "done"]
    assert failure_of(sweep.cells[0], sweep.folder) == ""


def test_another_ones_lines_are_no_reason(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of a cell goes on from run to run."""
    _run_is(monkeypatch, "echo 'fedsim: round 1/2, 0:01 left' >&2; kill -9 $$")
    run(sweep, [0])
    _run_is(monkeypatch, "exit 9")
    (failed,) = run(sweep, [0], ["failed"])
    assert (failed.state, failed.reason) == ("failed", "exit status 9")


def test_a_cell_stays_in_use_when_its_sweep_is_killed(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own process has inherited the claim."""
    seen: list[str] = []

    class KilledError(Exception):
        pass

    def kill(self: Runner) -> None:
        for job in self._running:
            job.claim.release()
            seen.append(progress_of(job.cell, sweep.folder).state)
            job.process.wait()
            seen.append(progress_of(job.cell, sweep.folder).state)
        raise KilledError

    monkeypatch.setattr(Runner, "_collect", kill)
    _run_is(monkeypatch, "sleep 3")
    with pytest.raises(KilledError):
        run(sweep, [0])
    assert seen == ["running", "pending"]
