"""What is said of errors of a GPU, as torch words them."""

import pytest
import torch

from fedsim.comm import RankStatus
from fedsim.failures.messages import failed, failed_at_start

ME = RankStatus(rank=3, host="node1", pid=7, machine="x", activity="phase 'local_work', client 5")

MEMORY = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 3.12 GiB is "
    "free. Process 41 has 40.00 GiB memory in use. Including non-PyTorch memory, this process has 35.00 GiB memory "
    "in use. Of the allocated memory 30.00 GiB is allocated by PyTorch, and 1.00 GiB is reserved by PyTorch but "
    "unallocated. If reserved but unallocated memory is large try setting PYTORCH_ALLOC_CONF=expandable_segments:True"
    " to avoid fragmentation.  See documentation for Memory Management  (https://pytorch.org/docs/stable/notes/cuda.html)"
)

ALWAYS = """
Search for `cudaErrorAssert' in https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace might be incorrect.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""


@pytest.mark.parametrize(
    ("error", "what", "remedy"),
    [
        (
            torch.OutOfMemoryError(MEMORY),
            "CUDA out of memory: 20.00 GiB more do not fit, 79.10 GiB in all, 3.12 GiB free; ",
            "use fewer ranks on one GPU",
        ),
        (
            torch.AcceleratorError(f"CUDA error: device-side assert triggered{ALWAYS}"),
            "CUDA error: device-side assert triggered; ",
            "an index is out of range",
        ),
        (
            torch.AcceleratorError(f"CUDA error: all CUDA-capable devices are busy or unavailable{ALWAYS}"),
            "CUDA error: all CUDA-capable devices are busy or unavailable; ",
            "another process has it",
        ),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`; ",
            "use fewer ranks on one GPU",
        ),
        (
            torch.AcceleratorError(f"CUDA error: an illegal memory access was encountered{ALWAYS}"),
            "CUDA error: an illegal memory access was encountered; ",
            "CUDA_LAUNCH_BLOCKING=1 shows the line",
        ),
    ],
)
def test_an_error_of_a_gpu_is_one_sentence_with_rank_cause_and_remedy(
    error: RuntimeError, what: str, remedy: str
) -> None:
    for said in (failed(ME, error, None), failed_at_start(3, error)):
        assert "\n" not in said
        assert said.startswith("rank 3 ")
        assert what + remedy in said
        assert len(said) < 400
        assert "asynchronously" not in said
        assert "PYTORCH_ALLOC_CONF" not in said


def test_other_errors_keep_their_words() -> None:
    assert "RuntimeError: stack expects each tensor to be equal" in failed(
        ME, RuntimeError("stack expects each tensor to be equal"), None
    )
    assert failed_at_start(0, ValueError("CUDA error")) == "rank 0 failed at the start: ValueError: CUDA error"
