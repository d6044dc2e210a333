"""Where a run's samples lie: on the GPUs where they fit, else in the memory of the host."""

import hashlib
import logging
from collections.abc import Callable
from typing import Literal

import torch

from fedsim.comm import Communicator
from fedsim.data import Splits
from fedsim.data.feeds import Placement, size_in_bytes
from fedsim.errors import ConfigError
from fedsim.machine import byte_size

log = logging.getLogger(__name__)

SHARE = 0.5
"""Of a GPU's free memory, what samples may take; the rest is for models, updates and what they compute."""


def gpu_memory(device: torch.device) -> tuple[str, int]:
    """A name that no other GPU has, on whatever host, and the free bytes of this one."""
    return str(torch.cuda.get_device_properties(device).uuid), torch.cuda.mem_get_info(device)[0]


def place_samples(
    wanted: Literal["auto", "device", "host"],
    splits: Splits,
    comm: Communicator,
    memory_of: Callable[[torch.device], tuple[str, int]] = gpu_memory,
    *,
    validation: float = 0.0,
) -> Placement:
    """Where the samples lie, the same on every rank, of which each has a copy; results do not depend on it.

    Args:
        splits: with images of the size in which they are kept.
        validation: share of the training samples of which there is a second copy, to evaluate on.

    Raises:
        ConfigError: they are to lie on the device, and cannot.
    """
    if comm.device.type != "cuda":
        return "host"
    needed = _size_in_bytes(splits, validation) if splits.one_size else 0
    problem = _lack_of_room(needed, comm, memory_of) if splits.one_size else "the images differ in size"
    if wanted == "device" and problem:
        remedy = "set it to auto or host" if splits.one_size else "set data.resize, or this to auto or host"
        raise ConfigError("data.placement", f"samples cannot lie on the GPU: {problem}", remedy)
    on_device = wanted != "host" and not problem
    if comm.rank == 0 and on_device:
        log.info("samples lie on the GPU (%s for each rank)", byte_size(needed))
    elif comm.rank == 0:
        why = problem or "as data.placement says"
        log.info("samples lie in the memory of the host, and are copied batch by batch (%s)", why)
    return "device" if on_device else "host"


def _size_in_bytes(splits: Splits, validation: float) -> int:
    return round((1 + validation) * size_in_bytes(splits.train)) + size_in_bytes(splits.test)


def _lack_of_room(needed: int, comm: Communicator, memory_of: Callable[[torch.device], tuple[str, int]]) -> str:
    """Why ``needed`` bytes of every rank do not fit on all GPUs, in words; nothing if they do."""
    name, free = memory_of(comm.device)
    number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") >> 1
    gpus, frees = comm.all_gather(torch.tensor([number, free])).unbind(1)
    sharing = (gpus[:, None] == gpus).sum(1)
    room = (SHARE * frees / sharing).long()
    if needed <= int(room.min()):
        return ""
    least = int(room.argmin())
    shared = f", which {int(sharing[least])} ranks share" if sharing[least] > 1 else ""
    free_there = byte_size(int(frees[least]))
    return f"{byte_size(needed)} for each rank are more than half of the {free_there} that are free on a GPU{shared}"
