"""Standard input, output and error: open whatever a process was started with, and lost without harm.

A run outlives its terminal: a pipe that nobody reads any more, a lost connection, a full disk.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

INPUT, OUTPUT, ERROR = 0, 1, 2

GONE_FOR_GOOD = (errno.EPIPE, errno.EIO, errno.EBADF)
"""A reader that has left, a terminal that is closed; a full disk may have room again."""


def keep_standard_streams() -> None:
    """Let this process print as long as it lives, whatever happens to its terminal; for a program, not for a library.

    A descriptor that is closed (``>&-``) is opened on /dev/null: the next file would get its number, and with it
    whatever is printed.
    """
    for descriptor in (INPUT, OUTPUT, ERROR):
        try:
            os.fstat(descriptor)
        except OSError:
            _open_on_nothing(descriptor)
    sys.stdout, sys.stderr = _lasting(OUTPUT, sys.stdout), _lasting(ERROR, sys.stderr)


def output_is_lost() -> bool:
    """Whether something that this program has printed is lost, though somebody would read it: a disk was full."""
    return getattr(getattr(sys.stdout, "buffer", None), "lost", False)


def write_or_lose(descriptor: int, data: ReadableBuffer) -> OSError | None:
    """Write all the data; where that is not possible they are lost, and all that follows if nobody will read it.

    Returns:
        Why they are lost to somebody who would read them.
    """
    left = memoryview(data).cast("B")
    try:
        while left:
            try:
                left = left[os.write(descriptor, left) :]
            except BlockingIOError:  # a terminal that another program has left so
                os.set_blocking(descriptor, True)
    except OSError as error:
        if error.errno not in GONE_FOR_GOOD:
            return error
        with suppress(OSError):  # no descriptor is left: the next time is like this one
            _open_on_nothing(descriptor)
    return None


class _LastingFile(io.FileIO):
    """A descriptor to which writing never fails; of standard output it is said once if something is lost."""

    lost = False

    def write(self, data: ReadableBuffer) -> int:
        error = write_or_lose(self.fileno(), data)
        if error is not None and not self.lost:
            self.lost = True
            if self.fileno() == OUTPUT:
                write_or_lose(ERROR, f"fedsim: standard output cannot be written: {error.strerror}\n".encode())
        return memoryview(data).nbytes


def _lasting(descriptor: int, stream: TextIO | None) -> TextIO:
    """A stream like the one that Python has made; for a closed descriptor it has made none."""
    file = _LastingFile(descriptor, "w", closefd=False)
    if not isinstance(stream, io.TextIOWrapper):
        return io.TextIOWrapper(file, "utf-8", "backslashreplace", write_through=True)
    return io.TextIOWrapper(
        file,
        stream.encoding,
        stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _open_on_nothing(descriptor: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    if nothing == descriptor:
        os.set_inheritable(descriptor, True)  # programs that are started from here have it, too
        return
    os.dup2(nothing, descriptor)
    os.close(nothing)
