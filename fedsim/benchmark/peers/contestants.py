"""Who takes part, how each is started, and what it leaves."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fedsim.benchmark.peers.byzfl_grid import AGGREGATORS
from fedsim.benchmark.peers.task import RESULT, Task
from fedsim.run_directory.directory import write_yaml

CONFIG, SWEEP = "fedsim.yaml", "sweep.yaml"

RANKS = "-m torch.distributed.run --standalone --local-addr=127.0.0.1 --nproc_per_node=2"


@dataclass(frozen=True)
class Result:
    """What a contestant says of its work.

    Attributes:
        accuracy: after the last round; of a grid, the mean over its cells.
        seconds: of each part of the work in each round, as far as it is known.
    """

    accuracy: float
    seconds: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Contestant:
    """One way to do the task.

    Attributes:
        package: its distribution, whose version is reported; it may not be installed.
        arguments: of Python; ``{folder}`` stands for the folder of the task.
        read: the result, out of the folder.
    """

    name: str
    package: str
    arguments: str
    read: Callable[[Path], Result]

    def command(self, folder: Path) -> list[str]:
        return [sys.executable, *(word.format(folder=folder) for word in self.arguments.split())]

    @property
    def in_words(self) -> str:
        """What one types, and the version."""
        return f"{self.name} ({self.version or 'not installed'}): `python {self.arguments.format(folder='FOLDER')}`"

    @property
    def version(self) -> str | None:
        """Name and version of the distribution; None where it is not installed."""
        if self.package == "fedsim":  # may run from a clone
            from fedsim import __version__

            return f"fedsim {__version__}"
        try:
            return f"{self.package} {version(self.package)}"
        except PackageNotFoundError:
            return None


def of_contestant(folder: Path) -> Result:
    """What a contestant has written itself."""
    return Result(**json.loads((folder / RESULT).read_text(encoding="utf-8")))


def of_run(folder: Path) -> Result:
    """Of fedsim's run in the folder: its phases on rank 0."""
    lines = (folder / "runs" / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rounds = [json.loads(line) for line in lines]
    phases = {"local work": "local_work", "evaluate": "evaluate"}
    seconds = {part: [one["times"][phase] for one in rounds] for part, phase in phases.items()}
    return Result(rounds[-1]["accuracy"], seconds)


def of_sweep(folder: Path) -> Result:
    """Of fedsim's sweep in the folder."""
    summaries = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("runs/**/summary.json")]
    accuracies = [summary["final_accuracy"] for summary in summaries]
    assert len(accuracies) == 9, "some cells are missing"
    return Result(sum(accuracies) / len(accuracies), {})


_OURS = "fedsim.benchmark.peers"

RUNS: Sequence[Contestant] = (
    Contestant("plain loop", "torch", f"-m {_OURS}.plain_loop {{folder}}", of_contestant),
    Contestant("byzfl", "byzfl", f"-m {_OURS}.byzfl_classes {{folder}}", of_contestant),
    Contestant("flower", "flwr", f"-m {_OURS}.flower_simulation {{folder}}", of_contestant),
    Contestant("fedsim", "fedsim", f"-m fedsim --config {{folder}}/{CONFIG}", of_run),
    Contestant("fedsim on 2 ranks", "fedsim", f"{RANKS} -m fedsim --config {{folder}}/{CONFIG}", of_run),
)

GRIDS: Sequence[Contestant] = (
    Contestant("byzfl run_benchmark", "byzfl", f"-m {_OURS}.byzfl_grid {{folder}} 2", of_contestant),
    Contestant("fedsim sweep", "fedsim", f"-m fedsim.sweep {{folder}}/{SWEEP} --jobs 2", of_sweep),
)
"""Nine cells, two at a time."""


def fedsim_config(task: Task, folder: Path) -> dict[str, Any]:
    """The task as a config; what is not here has its default, as for any user."""
    return {
        "rounds": task.rounds,
        "output_dir": str(folder / "runs"),
        "run_name": "run",
        "data": {"name": "mnist5k", "partition": {"name": "iid"}},
        "model": {"name": "small_cnn"},
        "clients": {
            "count": task.clients,
            "local_steps": task.steps,
            "batch_size": task.batch_size,
            "optimizer": {"name": "sgd", "lr": task.learning_rate, "momentum": 0.0},
        },
        "attack": {"name": "none"},
        "aggregator": {"name": "cwtm", "num_byzantine": task.trimmed},
        "evaluation": {"batch_size": task.evaluation_batch},
        "runtime": {"device": "cpu"},
    }


def write_fedsim_config(task: Task, folder: Path) -> None:
    """The config of a run."""
    write_yaml(folder / CONFIG, fedsim_config(task, folder))


def write_fedsim_sweep(task: Task, folder: Path) -> None:
    """The grid of :mod:`fedsim.benchmark.peers.byzfl_grid` as a sweep."""
    config = {**fedsim_config(task, folder), "run_name": None}
    write_yaml(folder / CONFIG, config)
    names = {"TrMean": "cwtm", "Median": "cwmed", "Krum": "krum"}
    attacks = [{"name": name, "num_byzantine": task.trimmed} for name in ("ipm", "alie", "mimic")]
    axes = {"attack": attacks, "aggregator": [names[name] for name in AGGREGATORS]}
    write_yaml(folder / SWEEP, {"name": "grid", "base": CONFIG, "axes": axes})
