"""Rows in shared memory that a GPU may write to directly."""

import logging
import weakref
from contextlib import suppress
from typing import Any

import torch

from fedsim.comm import RowTransport
from fedsim.comm.rows import SharedRows

log = logging.getLogger(__name__)

PORTABLE = 1
"""cudaHostRegisterPortable: for all CUDA contexts of the process."""


def pin_rows(transport: RowTransport, device: torch.device, runtime: Any = None) -> None:
    """Register the matrix of the rows with CUDA for as long as the transport lives, where both are there.

    Without it, a row goes from the GPU into a small buffer of the driver, and a core copies it from there.

    Args:
        device: where clients train.
        runtime: CUDA's; None: torch's.
    """
    if device.type != "cuda" or not isinstance(transport, SharedRows):
        return
    runtime = runtime or torch.cuda.cudart()
    memory = transport.row(0).untyped_storage()  # of the whole matrix
    error = int(runtime.cudaHostRegister(memory.data_ptr(), memory.nbytes(), PORTABLE))
    if error:
        log.info("rows in shared memory are not pinned: CUDA refuses with error %d", error)
        with suppress(RuntimeError):  # which torch would otherwise report of the next kernel
            torch.ones(1, device=device)
        return
    # Before the memory goes: what is mapped in its place later would count as registered, at the old addresses.
    weakref.finalize(transport, runtime.cudaHostUnregister, memory.data_ptr())
