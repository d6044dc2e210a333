"""What a sweep does where its cells are forked and that goes wrong. A module of a few lines stands for a run."""

import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from fedsim.sweep import runner
from fedsim.sweep.cells import Progress
from fedsim.sweep.plan import Cell, Sweep
from fedsim.sweep.processes import CellProcess, StartCell, fork
from fedsim.sweep.runner import Runner, Slots
from support.sweeps import servers
from support.waiting import wait_until

PROBLEM = "AF_UNIX path too long"

DONE = """
import pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
(folder / "config.yaml").write_text("")
forked = "multiprocessing.spawn" in sys.modules
(folder / "processes").open("a").write("forked\\n" if forked else "command\\n")
if forked and pathlib.Path("forked_cells_hang").exists():
    time.sleep(60)
(folder / "summary.json").write_text('{"status": "completed"}')
"""


@pytest.fixture(autouse=True)
def run_is_short(light_server: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def command(sweep: Sweep, cell: Cell, ranks: int, plugins: Sequence[Path]) -> list[str]:
        return [sys.executable, "-m", "stands_for_a_cell", str(cell.directory)]

    (tmp_path / "stands_for_a_cell.py").write_text(DONE)
    monkeypatch.setattr(runner, "command", command)
    monkeypatch.setattr(runner, "LOOK_AGAIN", 0.05)
    monkeypatch.chdir(tmp_path)


def run(sweep: Sweep, start: StartCell) -> list[Progress]:
    reports: list[Progress] = []
    runs = Runner(
        sweep, Slots(2, 1), [], ("pending", "stopped"), lambda progress, ended: reports.append(progress), start
    )
    assert runs.run(sweep.cells[:3])
    return reports


def how(cell: Cell) -> list[str]:
    """How the cell's processes were started."""
    return (cell.directory / "processes").read_text().split()


def test_cells_are_forked(sweep: Sweep, capfd: pytest.CaptureFixture[str]) -> None:
    assert [one.state for one in run(sweep, fork)] == ["done"] * 3
    assert [how(cell) for cell in sweep.cells[:3]] == [["forked"]] * 3
    assert capfd.readouterr().err == ""


def test_where_there_can_be_no_server_cells_are_commands(sweep: Sweep, capfd: pytest.CaptureFixture[str]) -> None:
    tried: list[object] = []

    def start(words: Sequence[str], environment: Mapping[str, str], log: int, claim: int) -> CellProcess:
        tried.append(words)
        raise OSError(PROBLEM)

    assert [one.state for one in run(sweep, start)] == ["done"] * 3
    assert [how(cell) for cell in sweep.cells[:3]] == [["command"]] * 3
    assert len(tried) == 1
    (said,) = capfd.readouterr().err.splitlines()
    assert (
        said == f"fedsim: warning: no cell can be forked (OSError: {PROBLEM}): from now on each starts as a command"
    )


def test_cells_whose_server_is_killed_go_on_as_commands(
    sweep: Sweep, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "forked_cells_hang").touch()

    def has_begun(cell: Cell) -> bool:
        return (cell.directory / "processes").exists() and how(cell) == ["forked"]

    def kill_the_server() -> None:
        wait_until(lambda: all(map(has_begun, sweep.cells[:2])))
        (server,) = servers()
        os.kill(server, signal.SIGKILL)

    other = threading.Thread(target=kill_the_server)
    other.start()
    reports = run(sweep, fork)
    other.join()
    assert sorted(str(one.cell) for one in reports if one.state == "done") == sorted(map(str, sweep.cells[:3]))
    assert not [one for one in reports if one.state not in ("done", "running")]
    assert [how(cell) for cell in sweep.cells[:3]] == [["forked", "command"]] * 2 + [["command"]]
    assert capfd.readouterr().err.count("their server was killed") == 1
