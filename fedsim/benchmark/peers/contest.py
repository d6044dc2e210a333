"""The contest: each contestant in turn, several times, in processes of its own."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import torch
from tqdm import tqdm

from fedsim.benchmark.measure import Duration, Reading
from fedsim.benchmark.peers.byzfl_grid import write_as_mnist
from fedsim.benchmark.peers.contestants import (
    Contestant,
    Result,
    fedsim_config,
    write_fedsim_config,
    write_fedsim_sweep,
)
from fedsim.benchmark.peers.processes import Cost, run_and_watch
from fedsim.benchmark.peers.task import Data, Task
from fedsim.benchmark.rounds import load_data
from fedsim.build.components import build_components
from fedsim.build.data import RunData
from fedsim.config.run import parse_config

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH")])),
}
"""One thread for everyone, nothing is sent anywhere, and processes of Ray find this package."""

Prepare = Callable[[Task, Path], None]
"""Writes what a contestant needs into its folder."""


@dataclass
class _Turns:
    """What was measured of a contestant so far."""

    costs: list[Cost] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    problem: str = ""


def hold(contestants: Sequence[Contestant], task: Task, prepare: Prepare, turns: int) -> list[Reading]:
    """A reading of each contestant, in costs of the first one."""
    measured = {one.name: _Turns() for one in contestants}
    for one in tqdm([*contestants] * turns, unit="command", disable=not sys.stderr.isatty()):
        _take_turn(one, task, prepare, measured[one.name])
    yardstick = [cost.duration for cost in measured[contestants[0].name].costs]
    return [_reading(name, of_one, yardstick) for name, of_one in measured.items()]


def _take_turn(one: Contestant, task: Task, prepare: Prepare, so_far: _Turns) -> None:
    if one.version is None:
        so_far.problem = f"{one.package} is not installed: pip install 'fedsim-byzantine[peers]'"
    if so_far.problem:
        return
    with tempfile.TemporaryDirectory(prefix="fedsim-peers-") as name:
        folder, log = Path(name), Path(name, "log")
        prepare(task, folder)
        cost = run_and_watch(one.command(folder), ENVIRONMENT, log)
        if cost.status != 0:
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
            so_far.problem = f"exit status {cost.status}: {''.join(last)}"
            return
        so_far.costs.append(cost)
        so_far.results.append(one.read(folder))


def _reading(name: str, turns: _Turns, yardstick: Sequence[Duration]) -> Reading:
    if turns.problem or not yardstick:
        return Reading(name, problem=turns.problem or "there is nothing to compare it with")
    figures: dict[str, float | None] = {
        "accuracy": median(result.accuracy for result in turns.results),
        "peak MB": median(cost.peak_bytes for cost in turns.costs) / 1e6,
    }
    for part in ("local work", "evaluate"):  # medians: the first round loads modules
        of_turns = [median(result.seconds[part]) for result in turns.results if part in result.seconds]
        figures[f"{part}, ms a round"] = 1e3 * median(of_turns) if of_turns else None
    return replace(Reading.of(name, [cost.duration for cost in turns.costs], yardstick), figures=figures)


def prepare_run(task: Task, folder: Path) -> None:
    """The task, its data as fedsim distributes them, and fedsim's config."""
    write_fedsim_config(task, folder)
    task.save(folder)
    data, cpu = _data(task, folder), torch.device("cpu")
    train, test = (
        (inputs.batch(torch.arange(len(inputs))), inputs.labels)
        for inputs in (data.train_inputs(cpu), data.test_inputs(cpu))
    )
    Data(train, test, list(data.client_indices)).save(folder)


def prepare_grid(task: Task, folder: Path) -> None:
    """The task, its data as torchvision's MNIST, and fedsim's sweep."""
    write_fedsim_sweep(task, folder)
    task.save(folder)
    splits = _data(task, folder).splits
    for side, samples in (("train", splits.train), ("t10k", splits.test)):
        images = samples.pick(torch.arange(len(samples)))
        assert isinstance(images, torch.Tensor), "digits are of one size"
        write_as_mnist(folder, side, images.squeeze(1), samples.labels.to(torch.uint8))


def _data(task: Task, folder: Path) -> RunData:
    return load_data(build_components(parse_config(fedsim_config(task, folder))))
