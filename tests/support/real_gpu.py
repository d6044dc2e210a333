"""A real GPU."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

NEEDS_GPU = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is visible"),
]

GPU = torch.device("cuda", 0)


@contextmanager
def nothing_waits() -> Iterator[None]:
    """An error inside the block wherever the host waits for the GPU."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@contextmanager
def waits() -> Iterator[list[str]]:
    """What the host waits for the GPU for, inside the block."""
    found: list[str] = []
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield found
    finally:
        torch.cuda.set_sync_debug_mode("default")
        found += [str(warning.message) for warning in caught if "synchroniz" in str(warning.message)]


@contextmanager
def deterministic() -> Iterator[None]:
    """As runs are by default."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
