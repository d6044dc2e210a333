"""Converted data on disk: made once, whole or not at all, and mapped into memory by every rank."""

import os
import secrets
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedsim.errors import ConfigError, FedsimWarning
from fedsim.files import folder_exists, reserve, user_path

Arrays = dict[str, NDArray[Any]]

ONE_DAY = 24 * 3600
"""Seconds after which a folder that a killed process was filling is swept away."""


def cache_folder() -> Path:
    """``$FEDSIM_CACHE``, or ``fedsim`` in the user's cache folder; without a home, in the temporary one."""
    given = os.environ.get("FEDSIM_CACHE")
    if given:
        return user_path(given, "FEDSIM_CACHE")
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedsim"
    except RuntimeError:  # neither HOME nor an entry in passwd, as in a container
        return Path(tempfile.gettempdir()) / f"fedsim-{os.getuid()}"


def cached_arrays(name: str, names: Sequence[str], make: Callable[[Path], None]) -> Arrays:
    """The arrays ``names`` of the cached folder ``name``, made on first use.

    A folder appears under its name only when complete, so that ranks and hosts may race for it; one that has been
    damaged since is made again. Without a writable cache the arrays are made in a temporary place each time.

    Args:
        make: fills the folder it is given with a ``.npy`` file for each of ``names``.

    Returns:
        Memory-mapped arrays: what is written to them stays in this process.

    Raises:
        ConfigError: the disk is full.
    """
    folder = cache_folder() / name
    found = _read(folder, names)
    if found is not None:
        return found
    part = _new_part(folder)
    try:
        make(part)
        arrays = _read(part, names)
        assert arrays is not None, f"{name} was not made whole"
        if part.parent == folder.parent:
            _rename(part, folder, names)
        return arrays  # the maps stay valid whatever becomes of the names
    except OSError as error:
        problem = f"cannot write {name} to {part.parent}: {error.strerror or error}"
        raise ConfigError("root", problem, "make room there, or set FEDSIM_CACHE to a folder with room") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def reserve_array(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A new uint8 array in a file that has its room on disk already.

    Writing to a map of a file that cannot grow kills the process; a reservation that fails is an OSError.
    """
    array: NDArray[np.uint8] = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    with path.open("r+b") as file:
        reserve(file.fileno(), path.stat().st_size - prod(shape), prod(shape))
    return array


def _read(folder: Path, names: Sequence[str]) -> Arrays | None:
    """The arrays, None if they are not there or damaged."""
    if not folder_exists(folder):
        return None
    try:
        return {name: np.load(folder / f"{name}.npy", mmap_mode="c", allow_pickle=False) for name in names}
    except (OSError, ValueError, EOFError) as error:
        warnings.warn(f"{folder} is damaged ({error}) and is made again", FedsimWarning, stacklevel=3)
        return None


def _new_part(folder: Path) -> Path:
    """An empty folder beside ``folder``, or a temporary one where that cannot be written."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for old in folder.parent.glob(".*.part"):
            with suppress(OSError):  # another process may sweep too
                if time.time() - old.stat().st_mtime > ONE_DAY:
                    shutil.rmtree(old, ignore_errors=True)
        part = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.part"
        part.mkdir()
        return part
    except OSError:  # a read-only home
        return Path(tempfile.mkdtemp(prefix="fedsim-"))


def _rename(part: Path, folder: Path, names: Sequence[str]) -> None:
    """Give a complete folder its name, unless another process was faster."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FedsimWarning)
        if folder.exists() and _read(folder, names) is None:
            shutil.rmtree(folder, ignore_errors=True)
    try:
        os.rename(part, folder)
    except OSError:
        if not folder.exists():
            raise
