"""Large pages are asked for where a tensor is too large for the heap, and nowhere else."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fedsim.updates.heap import LARGEST, in_large_pages
from fedsim.updates.matrix import UpdateMatrix

SMAPS = Path("/proc/self/smaps")


def flags(tensor: Tensor) -> list[str]:
    """What the kernel lists of the memory of the tensor's middle; nothing where it lists nothing."""
    middle = tensor.data_ptr() + tensor.numel() * tensor.element_size() // 2
    inside = False
    for line in SMAPS.read_text().splitlines():
        if span := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(span[1], 16) <= middle < int(span[2], 16)
        elif inside and line.startswith("VmFlags:"):
            return line.split()[1:]
    return []


def look_at_memory() -> None:
    """Write whether each of four tensors lies where large pages are asked for."""
    large, small = LARGEST + 4096, 1 << 20
    tensors = [torch.empty(size, dtype=torch.uint8) for size in (large, large, small)]
    in_large_pages(tensors[1])
    in_large_pages(tensors[2])
    tensors.append(UpdateMatrix(torch.ones(1, large // 4)).map_columns(lambda block: block.amax(0)))
    found = [flags(tensor) for tensor in tensors]
    sys.stdout.write(" ".join(str("hg" in one) for one in found) if all(found) else "nothing listed")


@pytest.mark.skipif(not SMAPS.exists(), reason="needs Linux")
def test_what_is_too_large_for_the_heap_is_in_large_pages() -> None:
    # In a process of its own: numpy asks for large pages too, so that an older one may have them anywhere.
    found = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=True).stdout
    if found == "nothing listed" or not Path("/sys/kernel/mm/transparent_hugepage").exists():
        pytest.skip("this kernel has no large pages, or does not list them")
    assert found.split() == ["False", "True", "False", "True"]


@pytest.mark.parametrize("shape", [(0,), (3, 0), (2, 3)])
def test_it_is_the_same_tensor(shape: tuple[int, ...]) -> None:
    tensor = torch.empty(shape)
    assert in_large_pages(tensor) is tensor


if __name__ == "__main__":
    look_at_memory()
