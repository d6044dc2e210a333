"""A cache of this machine and user, there only while processes use it: where the lasting one cannot be written."""

import fcntl
import os
import platform
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR

LOCK = ".in_use"


@dataclass(frozen=True)
class TemporaryCache:
    """A folder that all processes of a user on a machine share, and the last one to leave removes.

    Attributes:
        folder: of arrays, as in the lasting cache.
    """

    folder: Path
    _descriptor: int

    def leave(self) -> None:
        """This process needs the files no more; what it has mapped stays mapped."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(self.folder, ignore_errors=True)
        except OSError:  # another process uses it
            pass
        finally:
            os.close(self._descriptor)


def join_temporary_cache() -> TemporaryCache:
    """Use the folder, which is made if need be. A process that is killed leaves it to the next one.

    Raises:
        OSError: there is no room for temporary files.
    """
    while True:
        folder = _own_folder()
        try:
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:  # the last one has just left
            continue
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if _is_still(folder / LOCK, descriptor):
            return TemporaryCache(folder, descriptor)
        os.close(descriptor)


def _own_folder() -> Path:
    """A folder that nobody else can write; under a name of its own if another user has taken the usual one."""
    folder = Path(tempfile.gettempdir(), f"fedsim-{platform.node()}-{os.geteuid()}")
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not is_private(folder.lstat()):
            return Path(tempfile.mkdtemp(prefix="fedsim-"))
    return folder


def is_private(facts: os.stat_result) -> bool:
    """Whether this is a folder of this user (no link to one), which nobody else can write."""
    return S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid() and not facts.st_mode & 0o022


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
