"""Whether ``torch.compile`` works here, found out before a run starts."""

import getpass
import importlib.util
import os
import secrets
import sys
import tempfile
from pathlib import Path

import torch

from fedsim.build.device import computes_on_gpu
from fedsim.config.run import RuntimeSection
from fedsim.errors import ConfigError
from fedsim.updates.compiled_maps import reason

KEYS = ("compile", "compile_kernels")


def require_compiler(runtime: RuntimeSection) -> None:
    """Compile something small where the clients will compute, if the settings need a compiler.

    Raises:
        ConfigError: that does not work, because a compiler or Triton is missing or fails.
    """
    needing = [key for key in KEYS if getattr(runtime, key) is True]
    if not needing:
        return
    key = f"runtime.{needing[0]}"
    without = f"or set {' and '.join(f'runtime.{one}: false' for one in needing)}"
    on_gpu = computes_on_gpu(runtime)
    if on_gpu and importlib.util.find_spec("triton") is None:
        problem = "torch.compile needs Triton on a GPU, and it is not installed"
        raise ConfigError(key, problem, f"pip install triton, {without}")
    if on_gpu and not torch.cuda.is_available():
        return  # where a job is submitted: its nodes will find out
    name_a_folder_for_compiled_code()
    new = secrets.randbelow(2**30)  # what was compiled before would come from a cache
    torch.compiler.reset()  # after some runs in one process torch would compile nothing more, without a word
    try:
        torch.compile(lambda values: values.sin() + new)(torch.ones(4, device="cuda" if on_gpu else "cpu"))
    except Exception as error:  # of the compiler, of its cache, of torch
        problem = f"torch.compile does not work here: {reason(error)}"
        raise ConfigError(key, problem, f"install a compiler (gcc and g++), {without}") from None


def name_a_folder_for_compiled_code() -> None:
    """torch names its folder after the user; one without an entry in passwd has no name."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        folder = Path(tempfile.gettempdir()) / f"torchinductor_{os.getuid()}"
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))


def choose_no_kernel_by_its_time() -> None:
    """Keep torch.compile from timing kernels that differ in bits, and taking whichever was faster this time.

    Its configuration reads the variable when it is imported, which takes seconds and is left to who compiles.
    """
    os.environ["TORCHINDUCTOR_DETERMINISTIC"] = "1"
    inductor = sys.modules.get("torch._inductor.config")
    if hasattr(inductor, "deterministic"):
        inductor.deterministic = True  # type: ignore[union-attr]
