"""A matrix in shared memory that has a name only while the ranks map it, so that nothing can leak."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from fedsim.files import reserve

FOLDER = Path("/dev/shm")
FLOAT32_BYTES = 4


def create_reserved_file(values: int) -> str:
    """The path of a new file, mode 0600, with room for ``values`` float32 numbers; "" if there is none.

    Reserving matters: writing to a mapped file on a full /dev/shm would kill the process by SIGBUS.
    """
    try:
        descriptor, path = tempfile.mkstemp(prefix="fedsim-", dir=FOLDER)
    except OSError:
        return ""
    try:
        reserve(descriptor, 0, max(1, values * FLOAT32_BYTES))
    except OSError:
        remove_file(path)
        return ""
    finally:
        os.close(descriptor)
    return path


def map_file(path: str, slots: int, columns: int) -> Tensor | None:
    """The file as a matrix [slots, columns] shared with whoever maps it; None if it cannot be mapped."""
    try:
        return torch.from_file(path, shared=True, size=slots * columns, dtype=torch.float32).view(slots, columns)
    except (OSError, RuntimeError):
        return None


def remove_file(path: str) -> None:
    """Take the name away; the memory lives on while it is mapped."""
    with suppress(OSError):
        os.unlink(path)
