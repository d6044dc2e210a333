"""Converted data on disk: written once, whole or not at all."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def cache_folder() -> Path:
    """``$FEDSIM_CACHE``, or ``fedsim`` in the user's cache folder."""
    given = os.environ.get("FEDSIM_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "fedsim"


def cached_array(name: str, make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The array ``name`` from the cache, made and stored on first use; without a writable cache, just made.

    The file appears under its name only when complete, so that ranks may race for it.
    """
    path = cache_folder() / f"{name}.npy"
    if path.exists():
        loaded: NDArray[np.uint8] = np.load(path, allow_pickle=False)
        return loaded
    array = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
            np.save(part, array, allow_pickle=False)
        os.replace(part.name, path)
    except OSError:  # read-only home or full disk: the cache only saves time
        pass
    return array
