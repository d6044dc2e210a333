"""Rows in shared memory are registered with CUDA once, and given back before the memory is."""

import gc
import logging
from pathlib import Path

import pytest
import torch

from fedsim.build.pinned_rows import pin_rows
from fedsim.comm.rows import LocalRows, SharedRows

GPU, CPU = torch.device("cuda"), torch.device("cpu")


class Runtime:
    """CUDA's, as far as it is asked."""

    def __init__(self, error: int = 0) -> None:
        self.error, self.known = error, dict[int, int]()

    def cudaHostRegister(self, pointer: int, size: int, flags: int) -> int:  # noqa: N802
        if not self.error:
            assert pointer not in self.known
            self.known[pointer] = size
        return self.error

    def cudaHostUnregister(self, pointer: int) -> int:  # noqa: N802
        del self.known[pointer]
        return 0


def shared_rows(folder: Path) -> tuple[torch.Tensor, SharedRows]:
    (folder / "rows").write_bytes(bytes(4 * 3 * 10))
    matrix = torch.from_file(str(folder / "rows"), shared=True, size=30).view(3, 10)
    return matrix, SharedRows(matrix, 0, lambda: None)


def test_the_whole_matrix_is_registered_while_the_transport_lives(tmp_path: Path) -> None:
    matrix, transport = shared_rows(tmp_path)
    runtime = Runtime()
    pin_rows(transport, GPU, runtime)
    assert runtime.known == {matrix.data_ptr(): 120}
    del transport
    gc.collect()
    assert runtime.known == {}


def test_nothing_is_registered_without_a_gpu_or_shared_memory(tmp_path: Path) -> None:
    runtime = Runtime()
    _, transport = shared_rows(tmp_path)
    pin_rows(transport, CPU, runtime)
    pin_rows(LocalRows(2, 3, CPU), GPU, runtime)
    assert runtime.known == {}


def test_a_refusal_is_logged_and_rows_are_copied_as_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, transport = shared_rows(tmp_path)
    runtime = Runtime(error=801)
    with caplog.at_level(logging.INFO):
        pin_rows(transport, GPU, runtime)
    assert "not pinned: CUDA refuses with error 801" in caplog.text
    transport.row(1).fill_(2.0)
    del transport
    gc.collect()
    assert runtime.known == {}
