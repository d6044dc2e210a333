"""A matrix in shared memory that never has a name, so that nothing of it is left when ranks are killed."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from fedsim.files import reserve

FOLDER = Path("/dev/shm")
FLOAT32_BYTES = 4


@contextmanager
def reserved_file(values: int) -> Iterator[str]:
    """The address of a new file with room for ``values`` float32 numbers; "" if there is none.

    Processes of the same user on this host can map it while the block lasts. The kernel frees the memory when the
    last of them is gone: the file has no name that somebody would have to remove.

    Reserving matters: writing to a mapped file on a full /dev/shm would kill the process by SIGBUS.
    """
    try:
        file = tempfile.TemporaryFile(prefix="fedsim-", dir=FOLDER, buffering=0)  # noqa: SIM115
    except OSError:
        yield ""
        return
    with file:
        try:
            reserve(file.fileno(), 0, max(1, values * FLOAT32_BYTES))
            address = f"/proc/{os.getpid()}/fd/{file.fileno()} {_identity(file.fileno())}"
        except OSError:
            address = ""
        yield address


def map_file(address: str, slots: int, columns: int) -> Tensor | None:
    """The file as a matrix [slots, columns] shared with all ranks that map it; None if it cannot be mapped.

    In a container that counts processes by itself, the path may lead to another process's file, or nowhere.
    """
    path, _, identity = address.partition(" ")
    try:
        if _identity(path) != identity:
            return None
        return torch.from_file(path, shared=True, size=slots * columns, dtype=torch.float32).view(slots, columns)
    except (OSError, RuntimeError):
        return None


def _identity(file: int | str) -> str:
    facts = os.stat(file)
    return f"{facts.st_dev}:{facts.st_ino}"
