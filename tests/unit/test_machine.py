"""Cores, GPUs and memory: what control groups, affinity, SLURM and variables allow."""

import os
import platform
import sys
from pathlib import Path

import pytest
import torch

from fedsim.errors import ConfigError
from fedsim.machine import available_memory, count_cores, count_gpus, gpu_name, processor, require_memory, why_no_gpu


@pytest.fixture(autouse=True)
def _sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)))


def write(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(("quota", "cores"), [("300000 100000", 3), ("250000 100000", 3), ("5000 100000", 1)])
def test_a_quota_of_version_2_around_the_own_group_counts(tmp_path: Path, quota: str, cores: int) -> None:
    groups = {"sys/fs/cgroup/pod/cpu.max": quota, "sys/fs/cgroup/pod/own/cpu.max": "max 100000"}
    write(tmp_path, **{"proc/self/cgroup": "0::/pod/own\n", **groups})
    assert count_cores({}, tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("200000", 4), ("-1", 16)])
@pytest.mark.parametrize("group", ["", "host/only/there"])
def test_a_quota_of_version_1_counts(tmp_path: Path, quota: str, cores: int, group: str) -> None:
    place = "sys/fs/cgroup/cpu,cpuacct"
    files = {f"{place}/cpu.cfs_quota_us": quota, f"{place}/cpu.cfs_period_us": "50000"}
    write(tmp_path, **{"proc/self/cgroup": f"5:cpuset:/\n4:cpu,cpuacct:/{group}\n", **files})
    assert count_cores({}, tmp_path) == cores


def test_affinity_and_the_slurm_job_limit_but_not_omp(tmp_path: Path) -> None:
    assert count_cores({"OMP_NUM_THREADS": "1", "OMP_THREAD_LIMIT": "1"}, tmp_path) == 16
    assert count_cores({"SLURM_CPUS_ON_NODE": "6"}, tmp_path) == 6
    assert count_cores({"SLURM_CPUS_ON_NODE": "64"}, tmp_path) == 16


def test_gpus_are_those_that_torch_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert count_gpus({}) == 3
    assert count_gpus({"CUDA_VISIBLE_DEVICES": ""}) == 0
    assert gpu_name(0, {"CUDA_VISIBLE_DEVICES": "GPU-a, GPU-b"}) == "GPU-a"
    assert gpu_name(1, {"CUDA_VISIBLE_DEVICES": "GPU-a, GPU-b"}) == "GPU-b"


def test_each_slice_of_a_gpu_counts_although_cuda_shows_a_process_only_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slices = {"CUDA_VISIBLE_DEVICES": "MIG-a,MIG-b,MIG-c"}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert count_gpus(slices) == 3
    assert gpu_name(2, slices) == "MIG-c"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert count_gpus(slices) == 0


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "a driver is here, but torch cannot use it"),
        ({"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES is empty"),
        ({"CUDA_VISIBLE_DEVICES": "0,0"}, "CUDA_VISIBLE_DEVICES is 0,0, and torch finds no such GPU"),
    ],
)
def test_why_torch_sees_no_gpu_beside_a_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], said: str
) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    write(tmp_path, **{"dev/nvidiactl": ""})
    assert why_no_gpu(environment, tmp_path) == said
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    assert why_no_gpu(environment, tmp_path) == "this torch is built without CUDA"


def test_without_a_driver_nothing_else_is_blamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program: None)
    assert why_no_gpu({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == "no driver is here"


@pytest.mark.parametrize(
    ("files", "available"),
    [
        ({}, 4_096_000),
        ({"proc/self/cgroup": "0::/own\n", "sys/fs/cgroup/own/memory.max": "max"}, 4_096_000),
        ({"proc/self/cgroup": "0::/own\n", "sys/fs/cgroup/memory.max": "3000"}, 3000),
        ({"proc/self/cgroup": "7:memory:/own\n", "sys/fs/cgroup/memory/own/memory.limit_in_bytes": "2000"}, 2000),
        ({"proc/self/cgroup": "7:cpu:/own\n", "sys/fs/cgroup/memory/own/memory.limit_in_bytes": "2000"}, 4_096_000),
    ],
)
def test_available_memory_is_the_systems_or_less_by_control_groups(
    tmp_path: Path, files: dict[str, str], available: int
) -> None:
    write(tmp_path, **{"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable:    4000 kB\n", **files})
    assert available_memory(tmp_path) == available


@pytest.mark.parametrize(("given", "available"), [("0.5", 500_000_000), ("inf", sys.maxsize)])
def test_the_memory_of_another_machine_may_be_given(
    monkeypatch: pytest.MonkeyPatch, given: str, available: int
) -> None:
    """Of a node of the job, when a configuration is checked on a login node."""
    monkeypatch.setenv("FEDSIM_MEMORY_GB", given)
    assert available_memory() == available


@pytest.mark.parametrize("given", ["", "much", "nan"])
def test_a_memory_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("FEDSIM_MEMORY_GB", given)
    with pytest.raises(ConfigError, match=r"^FEDSIM_MEMORY_GB: '"):
        available_memory()


def test_memory_that_is_not_there_is_said_with_its_key() -> None:
    require_memory(1, "model", "all", "take fewer")
    with pytest.raises(ConfigError, match=r"^model: all take 1e\+15 PB of memory, and .* available; take fewer$"):
        require_memory(10**30, "model", "all", "take fewer")


@pytest.mark.parametrize(
    ("cpuinfo", "said"),
    [
        (
            "cpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nstepping\t: 1\n\nmodel\t: 99\n",
            "AMD EPYC (family 25, model 1, stepping 1)",
        ),
        ("model name\t: Some Core: fast\n", "Some Core: fast"),
        ("processor\t: 0\nCPU part\t: 0xd0c\n", platform.machine()),
        ("", platform.machine()),
    ],
)
def test_a_processor_is_named_by_what_the_system_says_of_the_first(cpuinfo: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(cpuinfo)
    assert processor(tmp_path) == said
