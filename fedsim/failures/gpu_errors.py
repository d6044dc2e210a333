"""Errors of a GPU in one line: what has happened, on which GPU, and what to do.

torch says the first, and after it several lines that are the same for every error.
"""

import re

import torch

BEGINNINGS = ("CUDA", "cuDNN", "cuBLAS", "NVML", "HIP")

SIZES = re.compile(r"Tried to allocate (.+?)\. .* total capacity of (.+?) of which (.+?) is free")

FEWER = "use fewer ranks on one GPU, a smaller clients.batch_size, or more clients.micro_batches; then --resume"

REMEDIES = {
    "out of memory": FEWER,
    "ALLOC_FAILED": FEWER,
    "NOT_INITIALIZED": FEWER,  # so says cuBLAS where no memory is left for its workspace
    "device-side assert": "an index is out of range, such as a label that the model has no output for; "
    "CUDA_LAUNCH_BLOCKING=1 shows the line",
    "busy or unavailable": "another process has it for itself: let nvidia-smi -c DEFAULT allow several, or wait",
    "no kernel image": "this torch has no code for such a GPU: install one that has",
    "driver version is insufficient": "the driver is older than torch needs: renew it, or install an older torch",
}

ELSE = "CUDA_LAUNCH_BLOCKING=1 shows the line; if it comes at another one each time, look at nvidia-smi and dmesg"


def of_gpu(error: BaseException) -> str | None:
    """An error of a GPU in words; None for any other error."""
    text = str(error).strip()
    if not isinstance(error, RuntimeError) or not text.startswith(BEGINNINGS):
        return None
    what = text.splitlines()[0].rstrip(".")
    sizes = SIZES.search(text)
    if sizes is not None:
        what = "CUDA out of memory: {} more do not fit, {} in all, {} free".format(*sizes.groups())
    remedy = next((remedy for sign, remedy in REMEDIES.items() if sign in what), ELSE)
    return f"{_this_gpu()}{what}; {remedy}"


def _this_gpu() -> str:
    if not torch.cuda.is_initialized():
        return ""
    try:
        index = torch.cuda.current_device()
        return f"cuda:{index} ({torch.cuda.get_device_name(index)}): "
    except RuntimeError:  # after some errors it answers nothing more
        return ""
