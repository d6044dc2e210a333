"""Sweeps as array jobs on a real SLURM: more cells than an array may have, and a task near its time limit."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from fedsim.yaml_text import yaml_text
from support.cluster import Cluster, why_not
from support.launch import ROOT, skip_or_fail

SMALL = {
    "rounds": 50_000,
    "data": {"name": "synthetic", "num_train": 200, "num_test": 40},
    "model": {"name": "mlp"},
    "clients": {"count": 2},
    "checkpoint": {"every": 10**6},
    "tracking": {"tensorboard": False},
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Whose arrays may have three tasks."""
    skip_or_fail(why_not())
    with tempfile.TemporaryDirectory(prefix="fedsim-slurm-", dir="/tmp") as folder:
        running = Cluster(Path(folder), arrays=3)
        try:
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            kept = {key: value for key, value in running.environment.items() if not key.startswith(("PYTEST", "OMP"))}
            running.environment = {**kept, "PATH": path, "RANKS_PER_NODE": "1"}
            yield running
        finally:
            running.stop()


def sweep(cluster: Cluster, folder: Path, content: Mapping[str, object], *arguments: str) -> str:
    (folder / "base.yaml").write_text(yaml_text({**SMALL, "output_dir": str(folder / "runs")}))
    (folder / "grid.yaml").write_text(yaml_text({"base": "base.yaml", **content}))
    command = [sys.executable, "-m", "fedsim.sweep", str(folder / "grid.yaml"), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=cluster.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_for(condition: Callable[[], object], what: Callable[[], object]) -> None:
    until = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < until, what()
        time.sleep(0.2)


def test_more_cells_than_an_array_may_have_are_several_arrays(cluster: Cluster, tmp_path: Path) -> None:
    axes = {"attack": ["none", "zero"], "aggregator": ["fedavg"], "seed": [5, 6]}
    content = {"set": {"rounds": 1, "attack.num_byzantine": 1, "clients.count": 3}, "axes": axes}
    typed = sweep(cluster, tmp_path, content, "--slurm", "--dry-run", "--throttle", "3").splitlines()
    assert [re.findall("--array=[0-9%-]*", line) for line in typed] == [["--array=0-2%1"], ["--array=0-0%2"]]
    said = sweep(cluster, tmp_path, content, "--slurm")
    assert re.sub(r"job \d+", "job N", said) == (
        "array job N of 3 cells is submitted; see --status\narray job N of 1 cell is submitted; see --status\n"
    )
    jobs = re.findall(r"job (\d+)", said)
    wait_for(lambda: not cluster.say("squeue", "-h", "-j", ",".join(jobs)), cluster.logs)
    said = sweep(cluster, tmp_path, content, "--status")
    assert "4 cells: 4 done" in said
    assert "| aggregator | none | zero | worst |" in said
    assert "nothing to submit" in sweep(cluster, tmp_path, content, "--slurm")


def test_a_task_near_its_limit_requeues_itself_alone(cluster: Cluster, tmp_path: Path) -> None:
    """The last task of an array has the number of the array."""
    content = {"axes": {"seed": [3, 4, 5]}, "overrides": [{"where": {"seed": 3}, "set": {"rounds": 1}}]}
    said = sweep(cluster, tmp_path, content, "--slurm")
    job = said.split()[2]
    runs = tmp_path / "runs" / "grid"

    def states() -> dict[str, str]:
        return dict(line.split() for line in cluster.say("squeue", "-h", "-r", "-j", job, "-o", "%K %T").splitlines())

    def rounds() -> list[int]:
        return sorted(len(path.read_text().splitlines()) for path in runs.glob("*/metrics.jsonl"))

    wait_for(lambda: len(rounds()) == 3 and rounds()[1] > 3 and "0" not in states(), lambda: (rounds(), states()))
    assert states() == {"1": "RUNNING", "2": "RUNNING"}
    assert sweep(cluster, tmp_path, content, "--slurm").startswith("nothing to submit")
    cluster.say("scancel", "--batch", "--signal=USR1", f"{job}_2")  # as SLURM does, #SBATCH --signal
    output = runs / "cells" / f"{job}_2.out"
    wait_for(lambda: states().get("2") == "PENDING", lambda: output.read_text())
    assert states() == {"1": "RUNNING", "2": "PENDING"}
    assert "3 cells: 1 done, 1 running, 1 queued" in sweep(cluster, tmp_path, content, "--status")
    assert f"job {job}_2: the time limit is near, back into the queue" in output.read_text()
    assert "nothing is lost" not in (runs / "cells" / f"{job}_1.out").read_text()
    ended = [json.loads(path.read_text())["status"] for path in runs.glob("*/summary.json")]
    assert sorted(ended) == ["completed", "interrupted"]
    cluster.say("scancel", job)
    wait_for(lambda: not states(), states)


def test_a_task_that_fails_before_its_run_begins_says_why(cluster: Cluster, tmp_path: Path) -> None:
    content = {"set": {"rounds": 1}, "axes": {"seed": [5]}}
    normal = cluster.environment
    try:
        cluster.environment = {**normal, "RANKS_PER_NODE": "many"}
        job = sweep(cluster, tmp_path, content, "--slurm").split()[2]
    finally:
        cluster.environment = normal
    wait_for(lambda: not cluster.say("squeue", "-h", "-j", job), cluster.logs)
    said = sweep(cluster, tmp_path, content, "--status")
    assert "1 cell: 1 failed" in said
    assert re.search(rf"seed=5  failed    .*\bmany\b.* \(see .*/{job}_0\.out\)", said), said
