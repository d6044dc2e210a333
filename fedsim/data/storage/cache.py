"""Converted data on disk: made once, whole or not at all, and mapped into memory by every rank."""

import errno
import os
import pwd
import shutil
import stat
import tempfile
import warnings
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedsim.data.storage.parts import Part, new_part
from fedsim.data.storage.temporary_cache import is_private, join_temporary_cache
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.files import NotAFileError, folder_exists, open_file, require_no_link, reserve, user_path

Arrays = dict[str, NDArray[Any]]


def cache_folder() -> Path:
    """``$FEDSIM_CACHE``, or ``fedsim`` in the user's cache folder; without a home, in the temporary one."""
    given = os.environ.get("FEDSIM_CACHE")
    if given:
        return user_path(given, "FEDSIM_CACHE")
    try:
        base = os.environ.get("XDG_CACHE_HOME")
        return (user_path(base, "XDG_CACHE_HOME") if base else Path.home() / ".cache") / "fedsim"
    except RuntimeError:  # neither HOME nor an entry in passwd, as in a container
        return _without_a_home()


def _without_a_home() -> Path:
    return Path(tempfile.gettempdir()) / f"fedsim-{os.getuid()}"


def cached_arrays(name: str, names: Sequence[str], make: Callable[[Path], None]) -> Arrays:
    """The arrays ``names`` of the cached folder ``name``, made on first use.

    A folder appears under its name only when complete, so that ranks and hosts may race for it; one that has been
    damaged since is made again. Without a cache that can be written and read, they are in a temporary one, which all
    processes of the user on this machine share, and the last one removes.

    Args:
        make: fills the folder it is given with a ``.npy`` file for each of ``names``.

    Returns:
        Memory-mapped arrays: what is written to them stays in this process.

    Raises:
        ConfigError: the disk is full.
    """
    folder = cache_folder() / name
    try:
        refuse_what_is_planted(folder.parent)
        found = _read(folder, names)
        if found is not None:
            return found
        part = new_part(folder)
    except OSError as error:  # a read-only home, or another user's files
        return _temporary_arrays(name, names, make, _why_not(folder, error))
    return _fill(part, folder, names, make)


def is_cached(name: str, names: Sequence[str]) -> bool:
    """Whether the folder ``name`` is in the lasting cache, whole and for this user to read."""
    folder = cache_folder() / name
    with warnings.catch_warnings(), suppress(OSError):
        warnings.simplefilter("ignore", FedsimWarning)
        refuse_what_is_planted(folder.parent)
        return _read(folder, names) is not None
    return False


def is_lasting() -> bool:
    """Whether what is in the cache stays there: its folder can be written."""
    folder = cache_folder()
    try:
        refuse_what_is_planted(folder)
    except PermissionError:
        return False
    return folder_exists(folder) and os.access(folder, os.W_OK)


def refuse_what_is_planted(folder: Path) -> None:
    """The cache may be where everybody can write, as /tmp: there somebody may have been there first.

    Raises:
        PermissionError: a link of another user stands for it; or it has the name that we chose, and is another's.
    """
    try:
        facts, place = folder.lstat(), folder.parent.stat()
    except OSError:  # nothing is there, or what becomes of it shows later
        return
    if stat.S_ISLNK(facts.st_mode) and facts.st_uid not in (0, os.geteuid()) and place.st_mode & stat.S_IWOTH:
        raise _PlantedError(errno.EPERM, "it is a link that another user has made")
    if folder == _without_a_home() and not is_private(facts):
        raise _PlantedError(errno.EPERM, "others can write it")


def reserve_array(path: Path, shape: tuple[int, ...], dtype: type[np.generic] = np.uint8) -> NDArray[Any]:
    """A new array in a file that has its room on disk already.

    Writing to a map of a file that cannot grow kills the process; a reservation that fails is an OSError.
    """
    array: NDArray[Any] = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    with path.open("r+b") as file:
        reserve(file.fileno(), path.stat().st_size - array.nbytes, array.nbytes)
    return array


def _temporary_arrays(name: str, names: Sequence[str], make: Callable[[Path], None], why: str) -> Arrays:
    """The arrays in a folder that is there while processes of this user use it on this machine."""
    remedy = "set FEDSIM_CACHE to a folder that can be written, so that they stay"
    try:
        shared = join_temporary_cache()
    except OSError as error:
        raise ConfigError("root", f"{why}, nor can a temporary folder be made: {error}", remedy) from None
    folder = shared.folder / name
    try:
        text = f"{why}; data are decoded into {shared.folder} and kept while runs use them"
        warnings.warn(f"{text}: {remedy}", FedsimWarning, stacklevel=3)
        arrays = _read(folder, names)
        if arrays is None:
            arrays = _fill(new_part(folder), folder, names, make)
    except BaseException:
        shared.leave()
        raise
    weakref.finalize(arrays[names[0]], shared.leave)
    return arrays


def _fill(part: Part, folder: Path, names: Sequence[str], make: Callable[[Path], None]) -> Arrays:
    """The arrays, made in ``part``, which then gets the name ``folder``."""
    try:
        make(part.folder)
        arrays = _read(part.folder, names)
        assert arrays is not None, f"{folder.name} was not made whole"
        _rename(part, folder, names)
        return arrays  # the maps stay valid whatever becomes of the names
    except OSError as error:
        problem = f"cannot write {folder.name} to {folder.parent}: {error.strerror or error}"
        raise ConfigError("root", problem, "make room there, or set FEDSIM_CACHE to a folder with room") from None
    finally:
        part.leave()


def _why_not(folder: Path, error: OSError) -> str:
    """Why the cache is of no use for ``folder``, in words."""
    if isinstance(error, _PlantedError):
        return f"the cache {folder.parent} is not used ({error.strerror})"
    if not isinstance(error, _UnreadableError):
        return f"the cache {folder.parent} cannot be written ({error.strerror or error})"
    return f"{folder} in the cache cannot be read, for it belongs to {_owner(folder)}"


def _owner(folder: Path) -> str:
    number = folder.stat().st_uid
    try:
        return f"the user {pwd.getpwuid(number).pw_name}"
    except KeyError:
        return f"the user with the number {number}"


class _PlantedError(PermissionError):
    """Somebody else has put something in the place of the cache."""


class _UnreadableError(PermissionError):
    """A folder is in the cache, but may not be read."""


def _read(folder: Path, names: Sequence[str]) -> Arrays | None:
    """The arrays, None if they are not there or damaged. _UnreadableError if they are another user's."""
    if not folder_exists(folder):
        return None
    try:
        _require_no_link_of_others(folder)
        return {name: _mapped(folder / f"{name}.npy") for name in names}
    except PermissionError as error:
        raise _UnreadableError(*error.args) from None
    except (OSError, ValueError, EOFError) as error:
        reason = error.strerror if isinstance(error, NotAFileError) else error
        warnings.warn(f"{folder} is damaged ({reason}) and is made again", FedsimWarning, stacklevel=3)
        return None


def _require_no_link_of_others(path: Path) -> None:
    """A link of one's own leads to where the user wants the data; another's, to where he does."""
    if path.is_symlink() and path.lstat().st_uid not in (0, os.geteuid()):
        require_no_link(path)


def _mapped(path: Path) -> NDArray[Any]:
    _require_no_link_of_others(path)
    open_file(path).close()  # else a FIFO would be waited for
    array: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    return array


def _rename(part: Part, folder: Path, names: Sequence[str]) -> None:
    """Give a complete folder its name, unless another process was faster."""
    with warnings.catch_warnings(), suppress(_UnreadableError):
        warnings.simplefilter("ignore", FedsimWarning)
        if folder.is_symlink():
            with suppress(OSError):  # another user's, where only he may remove it
                folder.unlink()
        elif folder.exists() and _read(folder, names) is None:
            shutil.rmtree(folder, ignore_errors=True)
    try:
        part.rename(folder)
    except OSError:
        if not os.path.lexists(folder):
            raise
