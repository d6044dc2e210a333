"""What must hold in every rank before its first tensor: threads, permissions and determinism, never inherited."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fedsim.build.compilation import choose_no_kernel_by_its_time, name_a_folder_for_compiled_code
from fedsim.build.components import Components
from fedsim.files import write_for_nobody_else
from fedsim.training.precision import set_matmul_precision
from fedsim.updates.heap import keep_freed_memory

VARIABLES = ("CUBLAS_WORKSPACE_CONFIG", "TORCHINDUCTOR_DETERMINISTIC", "TORCHINDUCTOR_CACHE_DIR")
"""Of the environment: what a run may set."""


def prepare_process(components: Components) -> None:
    """Set threads, memory, permissions and determinism of this process as the configuration says."""
    runtime = components.config.runtime
    write_for_nobody_else()
    keep_freed_memory()
    torch.set_num_threads(runtime.threads)
    set_matmul_precision("highest")  # runtime.matmul is of clients' work only
    if runtime.compile or runtime.compile_kernels is not False:
        name_a_folder_for_compiled_code()
    if runtime.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        choose_no_kernel_by_its_time()
        torch.set_deterministic_debug_mode("error")  # torch.use_deterministic_algorithms would import the compiler
        # Every buffer here is written before it is read, so filling it first would only cost time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False


@contextmanager
def process_settings_kept() -> Iterator[None]:
    """After the block, what :func:`prepare_process` sets for this process is as it was before.

    But for the C library's heap, which keeps freed memory from then on, and for compiled code, which stays as exact.
    """
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    fills = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    cudnn, products = torch.backends.cudnn, torch.get_float32_matmul_precision()
    of_cudnn = cudnn.benchmark, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision  # type: ignore[attr-defined]
    umask, environment = os.umask(0o077), {name: os.environ.get(name) for name in VARIABLES}
    os.umask(umask)
    try:
        yield
    finally:
        os.umask(umask)
        for name, value in environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(mode)
        torch.utils.deterministic.fill_uninitialized_memory = fills  # type: ignore[attr-defined]
        torch.set_float32_matmul_precision(products)
        cudnn.benchmark, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = of_cudnn  # type: ignore[attr-defined]
