"""How much room there is where data are cached: said before something large is made, and required."""

import logging
import os
import shutil
import tempfile
from pathlib import Path

from fedsim.data.storage.cache import cache_folder, refuse_what_is_planted
from fedsim.errors import ConfigError
from fedsim.machine import byte_size

log = logging.getLogger(__name__)


def require_room(needed: int, folder: Path, what: str, smaller: str = "") -> None:
    """Log how much the cache will hold, or refuse what is more than there is free.

    Args:
        needed: bytes.
        folder: of the cache; it may be made later.
        what: will be there, in the plural.
        smaller: what the user does to make it less, in words; empty if there is nothing.

    Raises:
        ConfigError: there is less room.
    """
    free = shutil.disk_usage(_nearest(folder)).free
    if needed > free:
        problem = f"{what} take {byte_size(needed)} when they are decoded, and {byte_size(free)} are free in {folder}"
        remedies = [smaller] * bool(smaller) + ["make room there", "set FEDSIM_CACHE to a folder on a larger disk"]
        raise ConfigError("root", problem, ", or ".join(remedies))
    log.info("%s take %s in the cache %s, where %s are free", what, byte_size(needed), folder, byte_size(free))


def future_folder() -> Path:
    """Where what is cached next will lie: in the cache, or beside temporary files if that cannot be written."""
    folder = cache_folder()
    try:
        refuse_what_is_planted(folder)
        nearest = _nearest(folder)
    except OSError:
        return Path(tempfile.gettempdir())
    return folder if nearest.is_dir() and os.access(nearest, os.W_OK) else Path(tempfile.gettempdir())


def _nearest(folder: Path) -> Path:
    """The folder, or the one that is there and in which it will be made."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
