"""Runs in processes forked from this one, which has imported everything: they start at once, and can be killed."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fedsim.main import main
from support.ports import free_port

PATIENCE = 60.0
"""Seconds until a child counts as one that hangs."""


@dataclass(frozen=True)
class Child:
    """A forked process."""

    pid: int

    def wait(self) -> int:
        """Its exit status, negative for a signal.

        Raises:
            AssertionError: it hangs; it is killed then.
        """
        limit = time.monotonic() + PATIENCE
        while time.monotonic() < limit:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
        self.kill()
        os.waitpid(self.pid, 0)
        raise AssertionError(f"process {self.pid} hangs")

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def start(
    words: Sequence[str],
    variables: Mapping[str, str] | None = None,
    group: int = 0,
    terminal: str | Path = os.devnull,
    prepare: Callable[[], None] = lambda: None,
    program: Callable[[list[str]], int] = main,
) -> Child:
    """A program in a new process.

    Args:
        variables: of its environment, beside those of this process.
        group: the process group that it joins; one of its own if 0.
        terminal: the file to which it prints.
        prepare: is called before it begins.
    """
    pid = os.fork()
    with suppress(OSError):  # both do it, as a shell does, so that neither has to wait for the other
        os.setpgid(pid, group or pid)
    if pid:
        return Child(pid)
    try:
        file = os.open(terminal, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        for descriptor in (0, 1, 2):
            os.dup2(file, descriptor)
        os.close(file)
        sys.stdout, sys.stderr = open(1, "w", 1, closefd=False), open(2, "w", 1, closefd=False)  # noqa: SIM115
        os.environ.update(variables or {})
        prepare()
        status = program(list(words))
    except BaseException:
        traceback.print_exc()
        status = 99
    os._exit(status)


def run_in_child(
    words: Sequence[str],
    terminal: Path,
    prepare: Callable[[], None],
    program: Callable[[list[str]], int] = main,
) -> tuple[int, str]:
    """The exit status of a program in a new process, and what it has printed."""
    status = start(words, terminal=terminal, prepare=prepare, program=program).wait()
    return status, terminal.read_text(encoding="utf-8", errors="surrogateescape")


def start_ranks(
    words: Sequence[str],
    ranks: int,
    terminal: str | Path = os.devnull,
) -> list[Child]:
    """The ranks of one run, in one process group, as torchrun starts them."""
    port = free_port()
    children: list[Child] = []
    for rank in range(ranks):
        numbers = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": ranks,
            "LOCAL_WORLD_SIZE": ranks,
            "MASTER_PORT": port,
        }
        variables = {**{name: str(number) for name, number in numbers.items()}, "MASTER_ADDR": "127.0.0.1"}
        children.append(start(words, variables, children[0].pid if children else 0, terminal))
    return children
