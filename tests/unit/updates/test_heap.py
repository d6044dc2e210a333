"""Large pages are asked for where a tensor is too large for the heap, and nowhere else."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fedsim.updates.heap import LARGEST, in_large_pages
from fedsim.updates.matrix import UpdateMatrix

SMAPS = Path("/proc/self/smaps")


def asks_for_large_pages(tensor: Tensor) -> bool:
    """Whether the kernel lists the flag ``hg`` for the memory of the tensor's middle."""
    middle = tensor.data_ptr() + tensor.numel() * tensor.element_size() // 2
    inside = False
    for line in SMAPS.read_text().splitlines():
        if span := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(span[1], 16) <= middle < int(span[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return "hg" in line.split()
    pytest.skip("this kernel does not list the flags of memory")


needs_smaps = pytest.mark.skipif(
    not SMAPS.exists() or not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="needs Linux"
)


@needs_smaps
def test_what_is_too_large_for_the_heap_is_in_large_pages() -> None:
    assert not asks_for_large_pages(torch.empty(LARGEST + 4096, dtype=torch.uint8))
    assert asks_for_large_pages(in_large_pages(torch.empty(LARGEST + 4096, dtype=torch.uint8)))


@needs_smaps
def test_what_comes_from_the_heap_is_not() -> None:
    assert not asks_for_large_pages(in_large_pages(torch.empty(1 << 20, dtype=torch.uint8)))


@needs_smaps
def test_the_result_of_a_column_map_is() -> None:
    updates = UpdateMatrix(torch.ones(1, LARGEST // 4 + 1024))
    assert asks_for_large_pages(updates.map_columns(lambda block: block.amax(0)))


@pytest.mark.parametrize("shape", [(0,), (3, 0), (2, 3)])
def test_it_is_the_same_tensor(shape: tuple[int, ...]) -> None:
    tensor = torch.empty(shape)
    assert in_large_pages(tensor) is tensor
