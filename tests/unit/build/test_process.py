"""What a rank sets for its process before a run."""

import os
from collections.abc import Iterator
from importlib import import_module

import pytest
import torch

from fedsim.build.components import build_components
from fedsim.build.process import prepare_process
from support.configuration import configured


@pytest.fixture(autouse=True)
def process_as_before() -> Iterator[None]:
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    umask = os.umask(0o022)
    inductor = import_module("torch._inductor.config")
    by_time = inductor.deterministic
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)
    os.umask(umask)
    inductor.deterministic = by_time  # type: ignore[attr-defined]


def test_products_and_convolutions_of_a_gpu_are_exact_outside_of_clients_work() -> None:
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    convolutions.fp32_precision = "tf32"  # as torch begins
    prepare_process(build_components(configured("runtime.matmul=tf32")))
    assert (torch.backends.cuda.matmul.fp32_precision, convolutions.fp32_precision) == ("ieee", "ieee")


@pytest.mark.parametrize(("deterministic", "by_time"), [("true", False), ("false", True)])
def test_kernels_are_chosen_by_their_time_only_where_runs_may_differ(deterministic: str, by_time: bool) -> None:
    inductor = import_module("torch._inductor.config")
    inductor.deterministic = False  # type: ignore[attr-defined]
    prepare_process(build_components(configured("runtime.compile=true", f"runtime.deterministic={deterministic}")))
    assert inductor.deterministic is not by_time
