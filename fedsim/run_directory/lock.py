"""One run in a directory at a time."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import TextIO

from fedsim.errors import ConfigError, escaped
from fedsim.files import NotAFileError, open_unlinked, remove_parts
from fedsim.run_directory.directory import CHECKPOINTS

log = logging.getLogger(__name__)

A_FEW = 4

LOCK = ".lock"
"""The file in a run's directory that its process holds."""


class InUseError(BlockingIOError):
    """Another process holds a lock; ``strerror`` names it."""


@dataclass(frozen=True)
class RunLock:
    """Held as long as the process lives: the kernel takes it back from one that was killed."""

    file: TextIO

    def release(self) -> None:
        self.file.close()


def lock_run_directory(directory: Path) -> RunLock:
    """The lock on a run's directory, where nothing is left now of files that a killed process was writing.

    Raises:
        ConfigError: another process holds it; the message names it. Or the directory cannot be written.
    """
    path = directory / LOCK
    try:
        lock = hold(path)
    except InUseError as error:
        raise ConfigError("--resume", f"{directory} is in use by {error.strerror}", "stop that run first") from None
    except NotAFileError as error:
        raise ConfigError("output_dir", f"cannot lock {path}: {error.strerror}", "remove it") from None
    except OSError as error:
        raise ConfigError("output_dir", f"cannot write {path}: {error.strerror}", "name a writable folder") from None
    for folder in (directory, directory / CHECKPOINTS):
        remove_parts(folder)
    return lock


def is_locked(directory: Path) -> bool:
    """Whether a run is going on in a directory."""
    return holder_of(directory / LOCK) is not None


def hold(path: Path) -> RunLock:
    """The lock that a file stands for, which is made if need be.

    Raises:
        InUseError: another process holds it.
        OSError: the file cannot be written, or is a link or no file at all.
    """
    file = os.fdopen(open_unlinked(path, os.O_RDWR | os.O_APPEND), "r+", encoding="utf-8", errors="replace")
    try:
        _acquire(file)
    except BlockingIOError:
        holder = _holder(file)
        file.close()
        raise InUseError(errno.EAGAIN, holder, str(path)) from None
    except OSError as error:  # some network file systems have no locks
        log.warning("no lock on %s (%s): do not run it twice", path.parent, error.strerror)
    with suppress(OSError):  # a full disk: the lock holds all the same
        os.truncate(file.fileno(), 0)
        os.write(file.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return RunLock(file)


def holder_of(path: Path) -> str | None:
    """Who holds the lock that a file stands for; None if nobody does."""
    try:
        with open(path, encoding="utf-8", errors="replace", opener=_open_no_link) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _holder(file)
    except OSError:
        pass
    return None


def _holder(file: TextIO) -> str:
    """As the holder has written; who may just be about to."""
    file.seek(0)
    return escaped(file.readline(200).strip()) or "another process"


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _acquire(file: TextIO) -> None:
    """Who only looks whether the lock is held has it for a moment, so one try is not enough."""
    for _ in range(A_FEW - 1):
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        sleep(0.05)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
