"""Folders that are being filled, each locked by its process, so that only what a killed one left is swept away."""

import fcntl
import os
import secrets
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR

LOCK = ".in_use"

ONE_DAY = 24 * 3600
"""Seconds after which an unlocked part is swept away: on some network file systems other hosts see no lock."""


@dataclass(frozen=True)
class Part:
    """A folder that this process fills. Nobody sweeps it meanwhile, whatever the clocks say."""

    folder: Path
    _descriptor: int

    def rename(self, folder: Path) -> None:
        """Give the part, which is complete, its name. OSError if a folder has it already."""
        os.rename(self.folder, folder)
        (folder / LOCK).unlink(missing_ok=True)

    def leave(self) -> None:
        """Remove what has no other name by now."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._descriptor)
        shutil.rmtree(self.folder, ignore_errors=True)  # NFS keeps what is open under another name


def new_part(folder: Path) -> Part:
    """An empty folder beside ``folder``. OSError where none can be made."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    while True:
        part = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.part"
        part.mkdir()
        try:
            return Part(part, _locked(part))
        except FileNotFoundError:  # swept before it was locked, by a process with another clock
            continue


def _sweep(parent: Path) -> None:
    for part in parent.glob(".*.part"):
        with suppress(OSError):  # its process holds it, or another one sweeps, too
            facts = part.lstat()
            if S_ISDIR(facts.st_mode) and time.time() - facts.st_mtime > ONE_DAY:
                Part(part, _locked(part, fcntl.LOCK_NB)).leave()


def _locked(part: Path, flags: int = 0) -> int:
    """A descriptor that holds the part; one that is not locked where the file system has no locks.

    Raises:
        FileNotFoundError: the part is gone.
        BlockingIOError: another process holds it.
    """
    descriptor = os.open(part / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _lock(descriptor, flags)
        os.stat(part / LOCK)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _lock(descriptor: int, flags: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
    except BlockingIOError:
        raise
    except OSError:  # no locks here
        if flags:
            raise
