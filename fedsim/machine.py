"""How many cores and GPUs this process may use: asked by the scripts of launch/ and slurm/, by sweeps and decoders.

Neither OMP_NUM_THREADS, which clusters set to 1 and ``nproc`` obeys, nor the lines of nvidia-smi, which may be error
messages, MIG instances or GPUs hidden from this process, say it.
"""

import math
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

GPU_SIGNS = ("dev/nvidiactl", "proc/driver/nvidia", "dev/dxg", "dev/kfd")
"""What a driver leaves: NVIDIA's, twice; Windows' in WSL; AMD's."""

GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")


def count_cores(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """The cores that this process may use: by its affinity, its control groups' quota, and its SLURM job.

    A part of a core counts as one: ranks that wait for each other share it.

    Args:
        root: where the file system begins.
    """
    limits = [_by_affinity(), *(math.ceil(quota) for quota in _quotas(root))]
    allocated = environment.get("SLURM_CPUS_ON_NODE", "")
    if allocated.isdecimal():  # where SLURM binds nothing, affinity shows the cores of other jobs, too
        limits.append(int(allocated))
    return max(1, min(limits))


def _by_affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS


def _quotas(root: Path) -> Iterator[float]:
    """The cores' time that this process's control groups, and those around them, may use; none where unlimited."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        number, controllers, group = line.split(":", 2)
        if number == "0":
            places, read = (mounted, mounted / "unified"), _quota_of_version_2
        elif "cpu" in controllers.split(","):
            places, read = (mounted / controllers, mounted / "cpu"), _quota_of_version_1
        else:
            continue
        # Of a container, the path may be the one that its host sees: then only the root is here.
        parts = PurePosixPath(group.lstrip("/"))
        for place in places:
            for folder in (parts, *parts.parents):
                quota = read(place / folder)
                if quota is not None:
                    yield quota


def _quota_of_version_2(folder: Path) -> float | None:
    words = _words(folder / "cpu.max")
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0] != "max" else None


def _quota_of_version_1(folder: Path) -> float | None:
    quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
    return int(quota[0]) / int(period[0]) if quota and period and int(quota[0]) > 0 else None


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except OSError:
        return []


def count_gpus(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """The GPUs that torch sees.

    Importing torch takes seconds, so it is asked only where there could be one: where a driver has left signs, a
    variable chooses devices, or torch is imported anyway.
    """
    if any(environment.get(name) == "" for name in GPU_VARIABLES):
        return 0
    signs = any((root / sign).exists() for sign in GPU_SIGNS) or shutil.which("nvidia-smi") is not None
    if not (signs or "torch" in sys.modules or any(name in environment for name in GPU_VARIABLES)):
        return 0
    from torch.cuda import device_count

    return device_count()


def gpu_name(index: int, environment: Mapping[str, str] = os.environ) -> str:
    """What CUDA_VISIBLE_DEVICES calls one of the GPUs that this process sees.

    >>> gpu_name(1, {}), gpu_name(1, {"CUDA_VISIBLE_DEVICES": "2,3"})
    ('1', '3')
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[index].strip() if visible else str(index)
