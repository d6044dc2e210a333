"""Jobs as users submit them, on a real SLURM of two nodes."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fedsim.main import main
from support.cluster import NODES, Cluster, why_not
from support.launch import ROOT, TESTS, skip_or_fail
from support.runs import RUN, final_state, processes_with, records

ROUNDS = 12
SUBMIT = ROOT / "slurm" / "submit.sh"
CLIENTS = [*RUN, "clients.count=5", f"rounds={ROUNDS}"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    skip_or_fail(why_not())
    with tempfile.TemporaryDirectory(prefix="fedsim-slurm-", dir="/tmp") as folder:
        running = Cluster(Path(folder))
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        running.environment = {
            **{key: value for key, value in running.environment.items() if not key.startswith(("PYTEST", "OMP"))},
            "PATH": path,
            "RANKS_PER_NODE": "2",
        }
        yield running
        running.stop()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("local")
    assert main([*CLIENTS, f"output_dir={folder}"]) == 0
    return folder


def submit(cluster: Cluster, folder: Path, *arguments: str, nodes: int = 2, gpus: int = 0, **variables: str) -> str:
    options = ["--parsable", f"--nodes={nodes}", "--cpus-per-task=2", f"--output={folder}/%j.out"]
    options += [f"--gpus-per-node={gpus}"] if gpus else []
    script = "slurm/train.sbatch" if gpus else "slurm/cpu.sbatch"
    done = subprocess.run(
        [str(SUBMIT), *options, script, *CLIENTS, f"output_dir={folder}", *arguments],
        env={**cluster.environment, **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def output(folder: Path, job: str) -> str:
    path = folder / f"{job}.out"
    return path.read_text(errors="replace") if path.exists() else ""


def rounds_of(folder: Path) -> int:
    metrics = folder / "run" / "metrics.jsonl"
    return len(metrics.read_text().splitlines()) if metrics.exists() else 0


def wait_for_round(folder: Path, job: str, done: int) -> None:
    until = time.monotonic() + 120
    while rounds_of(folder) < done:
        assert time.monotonic() < until, output(folder, job)
        time.sleep(0.05)


def ranks_of(folder: Path) -> list[int]:
    """The processes of all ranks of a run, in no order."""
    return [pid for pid, words in processes_with(f"output_dir={folder}").items() if words[1:2] == ["-u"]]


def assert_as(local: Path, folder: Path) -> None:
    assert torch.equal(final_state(folder / "run", ROUNDS), final_state(local / "run", ROUNDS))
    assert records(folder) == records(local)


def test_five_clients_on_two_nodes_of_two_ranks_give_the_bits_of_one_process(
    cluster: Cluster, local: Path, tmp_path: Path
) -> None:
    job = submit(cluster, tmp_path)
    assert cluster.wait(job, "COMPLETED", "FAILED") == "COMPLETED", output(tmp_path, job)
    assert "on 4 ranks" in output(tmp_path, job)
    assert_as(local, tmp_path)


def test_a_job_near_its_limit_goes_back_into_the_queue_and_resumes(
    cluster: Cluster, local: Path, tmp_path: Path
) -> None:
    plugin = ["--plugin", str(TESTS / "support" / "faults.py")]
    held, once = "evaluate:0:wait:5", str(tmp_path / "held")  # or it might end before the signal comes
    job = submit(cluster, tmp_path, *plugin, RANKS_PER_NODE="1", FAULT=held, FAULT_ONCE=once)
    wait_for_round(tmp_path, job, 4)
    cluster.say("scancel", "--batch", "--signal=USR1", job)  # as SLURM does, #SBATCH --signal
    cluster.wait(job, "PENDING", "COMPLETED", "FAILED")
    assert cluster.state(job) == "PENDING", output(tmp_path, job)
    assert rounds_of(tmp_path) < ROUNDS
    Path(once).touch()  # where the signal came first, nobody has waited for it yet, and no further one comes
    cluster.start_now(job)
    assert cluster.wait(job, "COMPLETED", "FAILED") == "COMPLETED", output(tmp_path, job)
    said = output(tmp_path, job)
    assert "nothing is lost" in said
    assert "back into the queue" in said
    assert "fedsim: resumed after round" in said
    assert_as(local, tmp_path)


def test_a_killed_rank_fails_the_job_at_once_and_by_name(cluster: Cluster, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path, "rounds=2000", RESTARTS="0", RANKS_PER_NODE="1")
    wait_for_round(tmp_path, job, 1)
    victim = ranks_of(tmp_path)[1]
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    assert cluster.wait(job, "COMPLETED", "FAILED") == "FAILED"
    assert time.monotonic() - killed < 60
    # On a busy machine torchrun may clean up before a rank has asked the kernel, which then has forgotten the signal.
    how = "(killed by SIGKILL|its process is gone)"
    sentence = rf"fedsim: rank \d \(host .*, process {victim}\) died in phase .*: {how}"
    assert len(re.findall(sentence, output(tmp_path, job))) == 1, output(tmp_path, job)


def test_a_job_starts_its_ranks_again_and_goes_on(cluster: Cluster, local: Path, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path, RESTARTS="2", RANKS_PER_NODE="1")
    wait_for_round(tmp_path, job, 4)
    os.kill(ranks_of(tmp_path)[-1], signal.SIGKILL)
    assert cluster.wait(job, "COMPLETED", "FAILED", seconds=180) == "COMPLETED", output(tmp_path, job)
    # After the last checkpoint: where others work, it may have made another one before the kill.
    assert re.search(r"fedsim: resumed after round [369]\b", output(tmp_path, job)), output(tmp_path, job)
    assert_as(local, tmp_path)


@pytest.mark.slow
def test_a_job_whose_node_dies_goes_back_into_the_queue_and_resumes(
    cluster: Cluster, local: Path, tmp_path: Path
) -> None:
    job = submit(cluster, tmp_path)
    wait_for_round(tmp_path, job, 4)
    cluster.say("scontrol", "update", f"NodeName={NODES[1]}", "State=DOWN", "Reason=test")
    try:
        assert cluster.wait(job, "PENDING", "COMPLETED", "FAILED") == "PENDING", output(tmp_path, job)
    finally:
        cluster.say("scontrol", "update", f"NodeName={NODES[1]}", "State=RESUME")
    time.sleep(15)  # the node, which never really died, is still being asked to end the job
    cluster.start_now(job)
    assert cluster.wait(job, "COMPLETED", "FAILED") == "COMPLETED", output(tmp_path, job)
    assert "fedsim: resumed after round" in output(tmp_path, job)
    assert_as(local, tmp_path)


def test_jobs_on_one_node_do_not_meet(cluster: Cluster, local: Path, tmp_path: Path) -> None:
    """Same name, same folder, on the same node at the same time; each has a rank for each of its own GPUs.

    All ranks wait for each other, or the first job might have ended before the second starts. Checks load the plugin
    too, but have no rank.
    """
    plugin = tmp_path / "look.py"
    plugin.write_text(
        "import os, time\n"
        "from pathlib import Path\n"
        "job, rank, gpus = (os.environ.get(key) for key in ('SLURM_JOB_ID', 'RANK', 'CUDA_VISIBLE_DEVICES'))\n"
        f"folder, deadline = Path('{tmp_path}'), time.monotonic() + 60\n"
        "if rank is not None:\n"
        "    (folder / f'gpus-{job}-{rank}').write_text(str(gpus))\n"
        "    while len(list(folder.glob('gpus-*'))) < 4 and time.monotonic() < deadline:\n"
        "        time.sleep(0.1)\n"
    )
    more = ["--plugin", str(plugin), "runtime.device=cpu"]
    jobs = [submit(cluster, tmp_path, *more, nodes=1, gpus=2, RANKS_PER_NODE="") for _ in range(2)]
    for job in jobs:
        assert cluster.wait(job, "COMPLETED", "FAILED") == "COMPLETED", output(tmp_path, job)
        assert " on 2 ranks" in output(tmp_path, job)
    for name in ("run", "run-2"):
        assert torch.equal(final_state(tmp_path / name, ROUNDS), final_state(local / "run", ROUNDS))
    seen = [{(tmp_path / f"gpus-{job}-{rank}").read_text() for rank in range(2)} for job in jobs]
    assert seen in ([{"0,1"}, {"2,3"}], [{"2,3"}, {"0,1"}])


def test_a_mistake_is_reported_before_the_job_waits_in_a_queue() -> None:
    done = subprocess.run(
        [str(SUBMIT), "slurm/cpu.sbatch", "attack.name=fagn"],
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "did you mean 'fang'?" in done.stderr


def test_a_dry_run_says_what_would_be_submitted() -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment["SBATCH_PARTITION"] = "gpu"
    command = [str(SUBMIT), "--dry-run", "--nodes=2", "slurm/train.sbatch", "rounds=3"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "sbatch --nodes=2 slurm/train.sbatch rounds=3" in done.stdout
    assert "SBATCH_PARTITION=gpu" in done.stdout
    assert "#SBATCH --signal=B:USR1@120" in done.stdout
