"""The processes of cells: commands, or forked from a server that has imported everything.

A forked cell runs the module that its command names, with its arguments, environment, log and lock, in a session of
its own. It differs in what it costs: nothing is imported again, and what is imported lies in memory once.
"""

import atexit
import gc
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, reduction, resource_tracker
from multiprocessing.context import ForkServerProcess
from types import ModuleType
from typing import Any, Protocol

from fedsim.standard_streams import ERROR, INPUT, OUTPUT
from fedsim.stop_request import FOLLOW_LAUNCHER, SIGNALS

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""Of libraries that ask when they are imported; the threads of a run's own work are a setting."""

PRELOADED = ("fedsim.main", "torch.utils.tensorboard", __name__)
"""What every cell imports."""

PRELOADED_IF_USED = ("timm",)
"""What is slow to import: only where the cells need it, and then checking them has imported it."""

LOST = 255
"""Exit status of a forked cell whose server has ended: the real one is not known."""


class CellProcess(Protocol):
    """The process of a cell."""

    def poll(self) -> int | None:
        """Its exit status, minus the signal if one has killed it; None as long as it runs."""

    def terminate(self) -> None:
        """Ask it to stop."""

    def kill(self) -> None:
        """End it."""

    def wait(self) -> int | None:
        """Its exit status when it has ended."""


StartCell = Callable[[Sequence[str], Mapping[str, str], int, int], CellProcess]
"""From the words of a command, the environment, and the descriptors of its log and its claim."""


def why_no_fork(ranks: int) -> str | None:
    """Why cells are commands here; None where they are forked.

    Cells on a GPU are forked too: what imports torch has not touched CUDA, which each cell opens for itself.

    >>> why_no_fork(ranks=2)
    'it has 2 ranks, which torchrun starts'
    """
    if ranks > 1:
        return f"it has {ranks} ranks, which torchrun starts"
    if sys.platform != "linux":
        return "programs of this system may not go on after a fork"
    return None


def start_command(words: Sequence[str], environment: Mapping[str, str], log: int, claim: int) -> CellProcess:
    """Run a cell as a command.

    In a session of its own: Ctrl-C comes to the sweep, which then stops the cells in order. The claim is its, too:
    should the sweep be killed, the cell is in use until its own process ends.
    """
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env={**environment, **ONE_THREAD, FOLLOW_LAUNCHER: "1"},
        start_new_session=True,
        pass_fds=[claim],
    )


def fork(words: Sequence[str], environment: Mapping[str, str], log: int, claim: int) -> CellProcess:
    """Run ``python -m MODULE ...`` in a process that is forked from the server, which is started if need be.

    Raises:
        OSError, EOFError: there is no server, and none can be started.
    """
    python, option, module, *arguments = words
    assert (python, option) == (sys.executable, "-m"), words
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, *(name for name in PRELOADED_IF_USED if name in sys.modules)])
    given = (module, arguments, {**environment, **ONE_THREAD}, _Descriptor(log), _Descriptor(claim))
    process = context.Process(target=_run, args=given)
    with _server_settings(), _without_main_program():
        process.start()
    return ForkedCell(process)


def end_server() -> None:
    """End the server when its cells have ended; its time then counts as that of this process's children."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


class ForkedCell:
    """A cell whose parent is the server."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process
        self._status: int | None = None

    def poll(self) -> int | None:
        if self._status is None and (status := self._process.exitcode) is not None:
            self._process.close()  # to a cell that is LOST, but lives, it is as if the sweep had ended: it stops
            self._status = status
        return self._status

    def terminate(self) -> None:
        if self._status is None:
            self._process.terminate()

    def kill(self) -> None:
        if self._status is None:
            self._process.kill()

    def wait(self) -> int | None:
        if self._status is None:
            self._process.join()
        return self.poll()


class _Descriptor:
    """A descriptor that is handed to the process in whose arguments it stands."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Callable[[Any], int], tuple[Any]]:
        return _received, (reduction.DupFd(self._number),)


def _received(descriptor: Any) -> int:
    return descriptor.detach()


@contextmanager
def _server_settings() -> Iterator[None]:
    """What a server that is started in this block inherits.

    It blocks the signals by which a sweep or a run is stopped, since it ends with the sweep and its cells; a cell
    lets them in as soon as it has a session of its own.
    """
    resource_tracker.ensure_running()  # else it would be started by the server's start, and end the blocking
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _without_main_program() -> Iterator[None]:
    """multiprocessing would run the main program, be it a script that starts a sweep, in the new process, too."""
    program = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


def _run(module: str, arguments: Sequence[str], environment: Mapping[str, str], log: int, claim: int) -> None:
    """What the forked process does: it becomes what a command would be. The claim stays open as long as it lives."""
    gc.freeze()  # a collection would write to every object, and so copy the memory that is shared
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard, source in ((INPUT, nothing), (OUTPUT, log), (ERROR, log)):
        os.dup2(source, standard)
    for descriptor in (nothing, log):
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    threading.Thread(target=_stop_with_the_sweep, daemon=True).start()
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out


def _stop_with_the_sweep() -> None:
    """Ask this process to stop when the sweep has died; the server stays as long as it has cells."""
    sweep = multiprocessing.parent_process()
    assert sweep is not None
    sweep.join()
    os.kill(os.getpid(), signal.SIGTERM)
