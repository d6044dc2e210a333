"""Cells in SLURM's queue: the arrays that were submitted are noted beside the sweep's runs, and squeue is asked."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedsim.errors import ConfigError
from fedsim.files import read_bytes, read_text, write_text
from fedsim.sweep.cells import Progress
from fedsim.sweep.on_site import on_site

NOT_TO_COME = ("done", "running")
"""States of cells about which SLURM need not be asked."""

ENDED = (
    "COMPLETING",
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "BOOT_FAIL",
    "DEADLINE",
)
"""States of tasks that will not come back, but may be listed for a while."""

ENDED_FROM_OUTSIDE = "slurmstepd: error: ***"
"""SLURM's line in the output of a job that is cancelled, preempted or out of time, or whose node fails."""


@dataclass(frozen=True)
class Task:
    """One of an array.

    Attributes:
        job: number of the array; where there are several clusters, ``number;cluster``.
        index: in the array.
        output: the file with what it has printed.
    """

    job: str
    index: int
    output: Path

    @property
    def array(self) -> str:
        return self.job.partition(";")[0]

    def __str__(self) -> str:
        return f"{self.array}_{self.index}"


def remember(listing: Path, job: str) -> None:
    """Note that the cells of a listing were submitted as this array."""
    write_text(listing.with_suffix(".job"), f"{job}\n")


def with_queue(sweep_folder: Path, cells: Sequence[Progress]) -> list[Progress]:
    """How far the cells are, with what SLURM knows: ``queued``, or failed before the run could note anything.

    Raises:
        ConfigError: arrays were submitted, and SLURM cannot be asked about them.
    """
    submitted = _submitted(sweep_folder)
    tasks = {
        one.cell.config_hash: submitted[one.cell.config_hash]
        for one in cells
        if one.state not in NOT_TO_COME and one.cell.config_hash in submitted
    }
    queued = _queued({task.job for task in tasks.values()})
    return [_as_slurm_knows(one, tasks, queued) for one in cells]


def _as_slurm_knows(one: Progress, tasks: Mapping[str, Task], queued: Collection[str]) -> Progress:
    task = tasks.get(one.cell.config_hash)
    if task is None:
        return one
    if str(task) in queued:
        return replace(one, state="queued", reason="", job=task.array)
    words = last_words(task.output) if one.state == "pending" else ""
    return replace(one, state="failed", reason=f"{words} (see {task.output})") if words else one


def _submitted(sweep_folder: Path) -> dict[str, Task]:
    """The task that was submitted last for a cell, by the hash of its configuration."""
    tasks = {}
    for note in sorted((sweep_folder / "cells").glob("array-*.job")):
        try:
            job = read_text(note).strip()
            configs = read_text(note.with_suffix(".txt")).splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        for index, config in enumerate(configs):
            output = note.with_name(f"{job.partition(';')[0]}_{index}.out")
            tasks[Path(config).stem] = Task(job, index, output)
    return tasks


def _queued(jobs: Collection[str]) -> set[str]:
    """Those tasks of arrays, as ``number_index``, that wait, run, or will be run again."""
    if not jobs:
        return set()
    if len(clusters := {job.partition(";")[2] for job in jobs}) > 1:
        return set().union(*(_queued([job for job in jobs if job.partition(";")[2] == name]) for name in clusters))
    numbers, cluster = ",".join(sorted(job.partition(";")[0] for job in jobs)), *clusters
    of_cluster = [f"--clusters={cluster}"] if cluster else []
    done = on_site(["squeue", *of_cluster, "--noheader", "--array", f"--jobs={numbers}", "--format=%F %K %T"])
    if done.returncode == 0:
        found = re.findall(r"^(\d+) (\d+) (\w+)$", done.stdout, re.MULTILINE)
        return {f"{array}_{index}" for array, index, state in found if state not in ENDED}
    if "Invalid job id" not in done.stderr:
        problem = f"squeue cannot say whether job {numbers} still waits: {done.stderr.strip() or 'it failed'}"
        raise ConfigError("--slurm", problem, "try again where SLURM can be asked")
    return set() if len(jobs) == 1 else set().union(*(_queued([job]) for job in jobs))


def last_words(output: Path) -> str:
    """What a task said that failed before its run began: fedsim's own last line, else the last one.

    "" if there is none, and of a task whose run began, or that was cancelled: it is submitted again.
    """
    try:
        lines = [line.strip() for line in read_bytes(output).decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    own = [line.removeprefix("fedsim: ") for line in lines if line.startswith("fedsim: ")]
    said = [line for line in own if not line.startswith("warning: ")]
    began = any(line.startswith("run directory ") for line in own)
    if began or any(line.startswith(ENDED_FROM_OUTSIDE) for line in lines):
        return ""
    others = [line for line in lines if not line.startswith("srun: ")]  # that a step failed is known
    return next(reversed(said or others or lines), "")
