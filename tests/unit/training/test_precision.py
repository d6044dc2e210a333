"""What a GPU computes float32 products in: set around clients' work, and nowhere else."""

import warnings
from collections.abc import Iterator

import pytest
import torch

from fedsim.training.precision import Matmul, matmul_precision, set_matmul_precision
from support.local_work import CPU

GPU = torch.device("cuda")


def precisions() -> list[str]:
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)  # type: ignore[attr-defined]
    return [backend.fp32_precision for backend in backends]


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    set_matmul_precision("highest")
    yield
    set_matmul_precision("highest")


def test_outside_of_clients_work_convolutions_are_exact_too() -> None:
    torch.backends.cudnn.conv.fp32_precision = "tf32"  # type: ignore[attr-defined]  # as torch begins
    set_matmul_precision("highest")
    assert precisions() == ["ieee"] * 3


@pytest.mark.parametrize(("matmul", "inside"), [("tf32", "tf32"), ("highest", "ieee")])
def test_it_holds_in_the_block_and_not_after_it_whatever_happens_there(matmul: Matmul, inside: str) -> None:
    with matmul_precision(matmul, GPU):
        assert precisions() == [inside] * 3
    assert precisions() == ["ieee"] * 3
    with pytest.raises(RuntimeError, match="out of memory"), matmul_precision(matmul, GPU):
        raise RuntimeError("out of memory")
    assert precisions() == ["ieee"] * 3


def test_on_a_cpu_nothing_is_touched() -> None:
    with matmul_precision("tf32", CPU):
        assert precisions() == ["ieee"] * 3


def test_torch_neither_warns_nor_finds_two_ways_mixed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with matmul_precision("tf32", GPU):
            assert torch.get_float32_matmul_precision() == "high"  # torch.compile asks so
            assert torch.backends.cuda.matmul.allow_tf32
    assert torch.get_float32_matmul_precision() == "highest"
