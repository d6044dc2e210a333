"""Hosts as they are: what a cluster's variables, names and schedulers bring."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedsim.machine import count_cores
from support.forked_ranks import forked_ranks
from support.launch import ROOT, Finished, clean_environment, torchrun
from support.runs import RUN, status

BIN = Path(sys.executable).parent


def run(*command: str, **variables: str) -> Finished:
    environment = {**clean_environment(), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return Finished(done.returncode, done.stdout, done.stderr)


def stub(folder: Path, program: str, script: str) -> str:
    """A PATH on which a program is this script."""
    path = folder / program
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return os.pathsep.join([str(folder), str(BIN), os.environ["PATH"]])


@pytest.mark.parametrize("said", ["echo 'Failed to initialize NVML'; exit 1", "printf 'GPU 0: T4\\nGPU 1: T4\\n'"])
def test_ranks_are_cores_whatever_omp_and_nvidia_smi_say(tmp_path: Path, said: str) -> None:
    cores = count_cores()
    path = stub(tmp_path, "nvidia-smi", said)
    for clients, ranks in ((1, 1), (500, cores)):
        words = ["--dry-run", f"clients.count={clients}", "runtime.device=cpu"]
        done = run(str(ROOT / "launch" / "local.sh"), *words, PATH=path, OMP_NUM_THREADS="7")
        assert f"--nproc_per_node={ranks} " in done.out, done.err


def test_a_job_of_several_tasks_is_no_run_and_a_step_has_the_cores_of_the_job(tmp_path: Path) -> None:
    path = stub(tmp_path, "srun", 'echo "srun $@"')
    job = {"SLURM_JOB_ID": "9", "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "n1", "SLURM_CPUS_PER_TASK": "1"}
    job |= {"SLURM_CPUS_ON_NODE": "1", "SLURM_SUBMIT_DIR": str(ROOT), "PATH": path}
    script = str(ROOT / "slurm" / "cpu.sbatch")
    done = run("bash", script, "rounds=1", **job, SLURM_NTASKS="3")
    assert (done.status, done.out) == (2, "")
    assert "3 tasks on 1 nodes would be several runs: submit without --ntasks" in done.err
    done = run("bash", script, "rounds=1", **job, SLURM_NTASKS="1")
    assert "srun --kill-on-bad-exit=1 --cpus-per-task=1 torchrun --standalone" in done.out, done.err
    assert "--nproc_per_node=1 " in done.out


def test_a_dry_run_without_sbatch_says_so(tmp_path: Path) -> None:
    for program in ("bash", "dirname", "env", "grep", "sort"):
        (tmp_path / program).symlink_to(Path("/usr/bin") / program)
    stub(tmp_path, "python", f'exec {sys.executable} "$@"')
    done = run(str(ROOT / "slurm" / "submit.sh"), "--dry-run", "slurm/cpu.sbatch", "rounds=3", PATH=str(tmp_path))
    assert done.status == 0
    assert "sbatch is not here" in done.err
    assert done.out.endswith("sbatch slurm/cpu.sbatch rounds=3\n")


def test_on_one_host_names_interfaces_and_debugging_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_DISTRIBUTED_DEBUG", "DETAIL")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "ib7")
    done = torchrun(2, *RUN, "rounds=1", f"output_dir={tmp_path}")
    assert done.status == 0, done.err
    assert status(tmp_path) == "completed"


def test_a_failed_start_names_the_variable_and_leaves_no_directory(tmp_path: Path) -> None:
    several_hosts = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "MASTER_PORT": "1", "GLOO_SOCKET_IFNAME": "ib7"}
    folder = tmp_path / "runs"
    done = forked_ranks(1, *RUN, f"output_dir={folder}", variables=several_hosts)
    assert done.status == 2
    assert "GLOO_SOCKET_IFNAME: host " in done.err
    assert not folder.exists()


def test_a_directory_that_cannot_be_made_is_reported_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = forked_ranks(3, *RUN, f"output_dir={tmp_path / 'file'}")
    assert done.status == 2
    assert done.err.count("fedsim: ") == 1, done.err
    assert "configuration error: output_dir: " in done.err
