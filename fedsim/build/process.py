"""What must hold in every rank before its first tensor: threads, permissions and determinism, never inherited."""

import os

import torch

from fedsim.build.compilation import choose_no_kernel_by_its_time, name_a_folder_for_compiled_code
from fedsim.build.components import Components
from fedsim.files import write_for_nobody_else
from fedsim.training.precision import set_matmul_precision
from fedsim.updates.heap import keep_freed_memory


def prepare_process(components: Components) -> None:
    """Set threads, memory, permissions and determinism of this process as the configuration says."""
    runtime = components.config.runtime
    write_for_nobody_else()
    keep_freed_memory()
    torch.set_num_threads(runtime.threads)
    set_matmul_precision("highest")  # runtime.matmul is of clients' work only
    if runtime.compile:
        name_a_folder_for_compiled_code()
    if runtime.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        if runtime.compile:
            choose_no_kernel_by_its_time()
        torch.use_deterministic_algorithms(True)
        # Every buffer here is written before it is read, so filling it first would only cost time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False
