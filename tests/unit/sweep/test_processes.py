"""A forked process is what a command is: each thing is compared with, or done by, both."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fedsim.stop_request import FOLLOW_LAUNCHER, SIGNALS
from fedsim.sweep.processes import CellProcess, StartCell, end_server, fork, start_command
from support.sweeps import servers
from support.waiting import wait_until

MODULE = "stands_for_a_cell"

BOTH = pytest.mark.parametrize("start", [start_command, fork])

FACTS = """
import json, os, signal, sys
open_files = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
files = {os.readlink(one) for one in open_files if os.path.exists(one)}
json.dump({
    "name": __name__,
    "arguments": sys.argv,
    "environment": dict(os.environ),
    "folder": os.getcwd(),
    "path": sys.path,
    "umask": os.umask(0),
    "leads": os.getsid(0) == os.getpgid(0) == os.getpid(),
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "handlers": [str(signal.getsignal(number)) for number in signal.valid_signals()],
    "files": sorted(name for name in files if name.startswith("/") and not name.startswith(("/proc", "/dev/null"))),
    "input": sys.stdin.read(),
    "streams": [[stream.encoding, stream.errors, stream.isatty()] for stream in (sys.stdout, sys.stderr)],
}, sys.stdout)
"""


pytestmark = pytest.mark.usefixtures("light_server")


def run(start: StartCell, folder: Path, program: str) -> CellProcess:
    (folder / f"{MODULE}.py").write_text(program)
    with open(folder / "log", "ab") as log, open(folder / "claim", "w") as claim:
        words = [sys.executable, "-m", MODULE, "--word", "two words"]
        return start(words, {**os.environ, "OWN": "ä"}, log.fileno(), claim.fileno())


def facts(start: StartCell, folder: Path) -> dict[str, Any]:
    (folder / "log").unlink(missing_ok=True)
    assert run(start, folder, FACTS).wait() == 0
    return json.loads((folder / "log").read_text())


def test_a_forked_process_has_what_a_command_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    mask = os.umask(0o027)
    try:
        command, forked = facts(start_command, tmp_path), facts(fork, tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)
        os.umask(mask)
    assert command["environment"].pop(FOLLOW_LAUNCHER) == "1"  # a forked one is asked to stop by a thread
    assert forked["environment"]["OMP_NUM_THREADS"] == "1"
    assert forked["leads"]
    assert forked["files"] == [str(tmp_path / "claim"), str(tmp_path / "log")]
    assert forked.pop("path")[:1] == command.pop("path")[1:2] == [str(tmp_path)]  # a command's begins with the folder
    assert forked == command


@BOTH
@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("", 0),
        ("import sys; sys.exit(75)", 75),
        ("import sys; sys.exit('a text')", 1),
        ("import sys; sys.exit(None)", 0),
        ("1 / 0", 1),
        ("import os; os._exit(143)", 143),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM),
    ],
)
def test_the_exit_status_is_known(start: StartCell, program: str, status: int, tmp_path: Path) -> None:
    assert run(start, tmp_path, program).wait() == status
    assert ("ZeroDivisionError" in (tmp_path / "log").read_text()) == (program == "1 / 0")


@BOTH
def test_what_is_to_be_done_at_the_end_is_done(start: StartCell, tmp_path: Path) -> None:
    program = "import atexit, sys; atexit.register(print, 'last'); print('first'); sys.exit(3)"
    assert run(start, tmp_path, program).wait() == 3
    assert (tmp_path / "log").read_text() == "first\nlast\n"


@BOTH
@pytest.mark.parametrize("wait_for_it", [False, True])
def test_it_can_be_stopped_at_any_time(start: StartCell, wait_for_it: bool, tmp_path: Path) -> None:
    process = run(start, tmp_path, f"import time; open('{tmp_path}/started', 'w'); time.sleep(60)")
    if wait_for_it:
        wait_until((tmp_path / "started").exists)
    assert process.poll() is None
    process.terminate()
    assert process.wait() == process.poll() == -signal.SIGTERM


def test_signals_for_the_sweep_do_not_reach_the_server(tmp_path: Path) -> None:
    """Ctrl-C comes to all processes of a terminal's group, `scancel` to all of a step."""
    assert run(fork, tmp_path, "").wait() == 0
    (server,) = servers()
    for number in SIGNALS:
        os.kill(server, number)
    process = run(fork, tmp_path, "import sys; sys.exit(5)")
    assert servers() == [server]
    assert process.wait() == 5


def test_the_server_ends_with_the_sweep(tmp_path: Path) -> None:
    assert run(fork, tmp_path, "").wait() == 0
    assert servers()
    end_server()
    assert not servers()
    assert run(fork, tmp_path, "").wait() == 0  # another one is started


SWEEP = f"""
import os, sys
from fedsim.sweep import processes
processes.PRELOADED = (processes.__name__,)
nothing = os.open(os.devnull, os.O_RDWR)
process = processes.fork([sys.executable, "-m", "{MODULE}"], os.environ, nothing, nothing)
print("started", flush=True)
process.wait()
"""


def test_a_process_is_asked_to_stop_when_the_sweep_is_killed(tmp_path: Path) -> None:
    said = tmp_path / "said"
    program = f"""
import pathlib, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
pathlib.Path({str(said)!r}).write_text("runs")
signal.sigwait([signal.SIGTERM])
pathlib.Path({str(said)!r}).write_text("asked to stop")
"""
    (tmp_path / f"{MODULE}.py").write_text(program)
    script = tmp_path / "sweep.py"
    script.write_text(SWEEP)  # it has no `if __name__ == "__main__"`, and is not run again for a cell
    sweep = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE)
    wait_until(lambda: said.exists() and said.read_text() == "runs")
    sweep.kill()
    sweep.communicate()
    wait_until(lambda: said.read_text() == "asked to stop")
