"""Memory of the host: a heap that keeps what it has, and large pages for what is too large for it.

Blocks of a matrix come and go thousands of times a round, vectors over all columns a few times.
"""

import ctypes
import mmap
from contextlib import suppress

from torch import Tensor

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Names of glibc's ``mallopt``."""

KEPT, LARGEST = 64 << 20, 32 << 20
"""Bytes of free heap that are kept, and the largest piece that comes from it (more than glibc's limit is refused)."""


def keep_freed_memory() -> None:
    """Keep up to 64 MiB of freed memory instead of giving it back to the kernel.

    By default glibc may return the end of its heap whenever a block is freed, and the next block faults every
    page in again: seen with ALIE's standard deviation, 40 times the page faults and 5 times the time.
    Elsewhere than with glibc it does nothing.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(TRIM_THRESHOLD, KEPT)
        mallopt(MMAP_THRESHOLD, LARGEST)


def in_large_pages(tensor: Tensor) -> Tensor:
    """The same tensor, a new one, in pages of 2 MiB (if the kernel has them) where it is too large for the heap.

    In pages of 4 KiB it costs about as much to touch 45 MB for the first time as to read 400 MB. Smaller tensors come
    from the heap, whose pages have been touched before. It does nothing for a GPU's memory, nor elsewhere than on
    Linux.

    >>> import torch
    >>> in_large_pages(torch.empty(2, 3)).shape
    torch.Size([2, 3])
    """
    size = tensor.numel() * tensor.element_size()
    if size > LARGEST and tensor.device.type == "cpu":
        first = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        length = tensor.data_ptr() + size - first
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).madvise(ctypes.c_void_p(first), ctypes.c_size_t(length), mmap.MADV_HUGEPAGE)
    return tensor
