"""Where clients will compute, as far as this machine can tell before a run starts."""

import torch

from fedsim.config.run import RuntimeSection


def computes_on_gpu(runtime: RuntimeSection) -> bool:
    """Whether clients compute on a GPU: because that is asked for, or because there is one."""
    return runtime.device == "cuda" or (runtime.device == "auto" and torch.cuda.is_available())
