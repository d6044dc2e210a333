"""How many cores and GPUs and how much memory this process may use.

It is asked by the scripts of launch/ and slurm/, by sweeps and decoders, and before anything large is made.

Neither OMP_NUM_THREADS, which clusters set to 1 and ``nproc`` obeys, nor the lines of nvidia-smi, which may be error
messages, MIG instances or GPUs hidden from this process, say it.
"""

import math
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from fedsim.errors import ConfigError

ReadLimit = Callable[[Path], float | None]
"""What a control group's folder says."""

GPU_SIGNS = ("dev/nvidiactl", "proc/driver/nvidia", "dev/dxg", "dev/kfd")
"""What a driver leaves: NVIDIA's, twice; Windows' in WSL; AMD's."""

PROCESSOR_NUMBERS = {"family": "cpu family", "model": "model", "stepping": "stepping"}
"""What Linux says on x86, by the word for it."""

UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")

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
    return _limits(root, "cpu", _quota_of_version_1, _quota_of_version_2)


def _limits(root: Path, controller: str, version_1: ReadLimit, version_2: ReadLimit) -> Iterator[float]:
    """What a controller of this process's control groups, and of those around them, limits; none where unlimited."""
    mounted = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        number, controllers, group = line.split(":", 2)
        if number == "0":
            places, read = (mounted, mounted / "unified"), version_2
        elif controller in controllers.split(","):
            places, read = (mounted / controllers, mounted / controller), version_1
        else:
            continue
        # Of a container, the path may be the one that its host sees: then only the root is here.
        parts = PurePosixPath(group.lstrip("/"))
        for place in places:
            for folder in (parts, *parts.parents):
                limit = read(place / folder)
                if limit is not None:
                    yield limit


def _quota_of_version_2(folder: Path) -> float | None:
    words = _words(folder / "cpu.max")
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0] != "max" else None


def _quota_of_version_1(folder: Path) -> float | None:
    quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
    return int(quota[0]) / int(period[0]) if quota and period and int(quota[0]) > 0 else None


def _words(file: Path) -> list[str]:
    return " ".join(_lines(file)).split()


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def processor(root: Path = Path("/")) -> str:
    """The model of the processor, as the system names it, with its numbers: rented machines often hide the name.

    Args:
        root: where the file system begins.
    """
    facts: dict[str, str] = {}
    for line in _lines(root / "proc/cpuinfo"):
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    numbers = {word: facts.get(key) for word, key in PROCESSOR_NUMBERS.items()}
    shown = ", ".join(f"{word} {number}" for word, number in numbers.items() if number)
    return facts.get("model name", platform.machine()) + (f" ({shown})" if shown else "")


def available_memory(root: Path = Path("/")) -> int:
    """The bytes that this process may still take: by the system's own estimate, and its control groups' limits.

    ``$FEDSIM_MEMORY_GB`` says instead what there is where a configuration will run, if it is checked elsewhere.

    Args:
        root: where the file system begins.

    Raises:
        ConfigError: FEDSIM_MEMORY_GB is no such number.
    """
    given = os.environ.get("FEDSIM_MEMORY_GB")
    if given is not None:
        return _bytes_in(given)
    known = [line.split() for line in _lines(root / "proc/meminfo") if line.startswith("MemAvailable:")]
    free = int(known[0][1]) * 1024 if known else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # macOS
    return min([free, *map(int, _limits(root, "memory", _memory_of_version_1, _memory_of_version_2))])


def _bytes_in(gigabytes: str) -> int:
    try:
        return int(min(float(gigabytes) * 1e9, sys.maxsize))
    except ValueError:  # no number, or NaN
        problem = f"'{gigabytes}' is not a number of gigabytes"
        raise ConfigError("FEDSIM_MEMORY_GB", problem, "set it to what the machine has, or to inf") from None


def _memory_of_version_2(folder: Path) -> float | None:
    words = _words(folder / "memory.max")
    return int(words[0]) if words and words[0] != "max" else None


def _memory_of_version_1(folder: Path) -> float | None:
    words = _words(folder / "memory.limit_in_bytes")
    return int(words[0]) if words else None


def require_memory(needed: int, key: str, what: str, remedy: str) -> None:
    """ConfigError if something takes more memory than there is.

    Args:
        needed: bytes.
        key: of the setting that says how large it is.
        what: takes the memory, in the plural.
        remedy: what the user does about it.
    """
    available = available_memory()
    if needed > available:
        problem = f"{what} take {byte_size(needed)} of memory, and {byte_size(available)} are available"
        raise ConfigError(key, problem, remedy)


def byte_size(count: int) -> str:
    """A number of bytes in words.

    >>> byte_size(17), byte_size(3_136_000_000_000), byte_size(10**30)
    ('17 bytes', '3.1 TB', '1e+15 PB')
    """
    power = min(max(0, len(str(count)) - 1) // 3, len(UNITS) - 1)
    size = count / 1000**power
    number = f"{size:.1f}" if size < 1e4 and power else f"{size:.4g}"
    return f"{number} {UNITS[power]}"


def count_gpus(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """The GPUs that torch sees.

    Importing torch takes seconds, so it is asked only where there could be one: where a driver has left signs, a
    variable chooses devices, or torch is imported anyway.
    """
    if any(environment.get(name) == "" for name in GPU_VARIABLES):
        return 0
    chosen = any(name in environment for name in GPU_VARIABLES)
    if not (chosen or "torch" in sys.modules or has_signs_of_a_gpu(root)):
        return 0
    from torch.cuda import device_count

    seen = device_count()
    return max(seen, len(mig_slices(environment))) if seen else 0


def has_signs_of_a_gpu(root: Path = Path("/")) -> bool:
    """Whether a driver is here, whatever torch sees."""
    return any((root / sign).exists() for sign in GPU_SIGNS) or shutil.which("nvidia-smi") is not None


def gpu_name(index: int, environment: Mapping[str, str] = os.environ) -> str:
    """What CUDA_VISIBLE_DEVICES calls one of the GPUs that this process sees.

    >>> gpu_name(1, {}), gpu_name(1, {"CUDA_VISIBLE_DEVICES": "2,3"})
    ('1', '3')
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[index].strip() if visible else str(index)


def mig_slices(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The slices of GPUs (MIG) that CUDA_VISIBLE_DEVICES names. CUDA shows a process only the first of them.

    >>> mig_slices({"CUDA_VISIBLE_DEVICES": "MIG-a, MIG-b"}), mig_slices({"CUDA_VISIBLE_DEVICES": "0,1"})
    (['MIG-a', 'MIG-b'], [])
    """
    names = [name.strip() for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return names if all(name.startswith("MIG-") for name in names) else []


def why_no_gpu(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> str:
    """Why torch sees no GPU."""
    from torch import version

    if not has_signs_of_a_gpu(root):
        return "no driver is here"
    if not (version.cuda or version.hip):
        return "this torch is built without CUDA"
    for name in GPU_VARIABLES:
        if name in environment:
            visible = environment[name].strip()
            return f"{name} is {visible}, and torch finds no such GPU" if visible else f"{name} is empty"
    return "a driver is here, but torch cannot use it"


def boot_id() -> str:
    """The same for processes under one kernel, in whatever containers; empty where the system does not say."""
    return " ".join(_lines(Path("/proc/sys/kernel/random/boot_id")))
