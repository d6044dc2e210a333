"""What every input must end in: success, or one sentence that a user can read, soon and without a traceback."""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from fedsim.main import main

LONGEST = 330
"""Characters of a line about a mistake, with ``fedsim: configuration error: `` in front: about 300 for the rest."""

MANY_LINES = 12
"""Notes and warnings beyond this many hide what matters."""

MEMORY = 2 << 30
"""Bytes that one input may take beyond what the process has already."""

BEGINNING = "fedsim: "

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What moves a terminal's cursor, ends a line, turns the direction of text, or is no text."""

PYTHON = re.compile(r"\b(?!Config)[A-Z]\w*(?:Error|Exception|Interrupt|TimeUp): |^Traceback|^  File \"", re.MULTILINE)
"""The name of an exception in front of its text, or a traceback: what nobody has thought of."""


class TimeUp(BaseException):
    """An input has taken too long; no ``except Exception`` stops it."""


@dataclass(frozen=True)
class Ended:
    """How one call of ``main`` ended.

    Attributes:
        cpu: seconds of this process, which do not depend on what else the machine does.
        escaped: an exception that came out of ``main``.
    """

    status: int
    out: str
    err: str
    cpu: float
    hung: bool
    escaped: BaseException | None = None

    @property
    def said(self) -> list[str]:
        """Lines on standard error."""
        return [line for line in self.err.split("\n") if line]

    def without(self, folder: Path) -> Ended:
        """The same, as if the folder had no name: how long that is is no fault of a message."""
        return replace(self, out=self.out.replace(str(folder), ""), err=self.err.replace(str(folder), ""))


def call(arguments: Sequence[str], seconds: float = 60.0, program: Callable[[list[str]], int] = main) -> Ended:
    """A program in this process, under limits of time and memory, with all that reaches the terminal.

    Args:
        seconds: after which it hangs, by the clock; far more than it takes on a machine with other work.
    """
    status, hung, escaped = -1, _Flag(), None
    started = time.process_time()
    with captured() as texts:
        try:
            with _time_limit(seconds, hung), _memory_limit(MEMORY):
                status = program(list(arguments))
        except (Exception, TimeUp) as error:
            escaped = error
    out, err = texts
    return Ended(status, out, err, time.process_time() - started, hung.set, escaped)


def mistakes(
    ended: Ended, seconds: float, statuses: Sequence[int] = (0, 2), *, one_sentence: bool = True
) -> list[str]:
    """What is wrong with the way in which a call ended, by kind; nothing if it is a success or one good sentence.

    Args:
        seconds: of the processor that it may take.
        one_sentence: whether no other line than that about the failure may stand there.
    """
    found = []
    if ended.hung:
        return ["hangs"]
    if ended.escaped is not None:
        return [f"{type(ended.escaped).__name__} comes out of main"]
    if match := PYTHON.search(ended.err):
        name = match[0].strip(": ") if ":" in match[0] else ended.said[-1].split(":")[0]
        found.append(f"an exception is shown, not a sentence: {name}")
    elif ended.status not in statuses:
        found.append(f"status {ended.status}")
    if ended.cpu > seconds:
        found.append(f"takes longer than {seconds:g} s")
    if ended.status:
        found += _about_sentences([line for line in ended.said if _is_about_a_failure(line)], one_sentence)
    if any(CONTROL.search(line) for line in ended.said):
        found.append("control characters are shown")
    if (
        sum(not line.startswith("fedsim: round ") for line in ended.said) > MANY_LINES
        and "Traceback" not in ended.err
    ):
        found.append("a wall of lines")
    return found


def _about_sentences(lines: Sequence[str], one_sentence: bool) -> list[str]:
    if not lines or (one_sentence and len(lines) > 1):
        return [f"{'no sentence' if not lines else 'several sentences'} about the failure"]
    return ["a sentence of more than about 300 characters"] if max(map(len, lines)) > LONGEST else []


def _is_about_a_failure(line: str) -> bool:
    """Lines of a normal run, notes and warnings come before it."""
    normal = (
        "warning: ",
        "run directory ",
        "device: ",
        "images are ",
        "round ",
        "resumed ",
        "there is no checkpoint to",
    )
    if re.match(r"fedsim: (\d+ clients? |.* defends? against |.*: the settings of .* are dropped)", line):
        return False
    if re.search(" put aside as | was damaged: ", line):
        return False
    return line.startswith(BEGINNING) and not line.removeprefix(BEGINNING).startswith(normal)


@contextmanager
def captured() -> Iterator[list[str]]:
    """What is written to the two descriptors of the terminal in the block, as text, once the block is left."""
    texts: list[str] = []
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (os.fdopen(os.dup(descriptor), "w") for descriptor in (1, 2))
        try:
            yield texts
        finally:
            sys.stdout.close()
            sys.stderr.close()
            sys.stdout, sys.stderr = streams
            for descriptor, old in zip((1, 2), kept, strict=True):
                os.dup2(old, descriptor)
                os.close(old)
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode("utf-8", "surrogateescape"))


@dataclass
class _Flag:
    set: bool = field(default=False)


@contextmanager
def _time_limit(seconds: float, hung: _Flag) -> Iterator[None]:
    """TimeUp in the block after so many seconds; a timer that runs already (of pytest-timeout) goes on afterwards."""

    def up(number: int, frame: FrameType | None) -> None:
        hung.set = True
        raise TimeUp(f"more than {seconds:g} s")

    handler = signal.signal(signal.SIGALRM, up)
    before, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    started = time.monotonic()
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, max(0.01, before - (time.monotonic() - started)) if before else 0.0)


@contextmanager
def _memory_limit(more: int) -> Iterator[None]:
    """No more address space than the process has and ``more`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
