"""A small run that was killed half-way, how it goes on, and what must come out of it."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedsim.records.round_record import Quality, RoundRecord
from fuzz.children import start
from support.launch import TESTS
from support.runs import final_state

SETTINGS = [
    "data={name: synthetic, num_train: 60, num_test: 20, num_classes: 2, shape: [1, 4, 4]}",
    "model={name: mlp, hidden: [4]}",
    "clients.count=3",
    "clients.momentum=0.5",
    "attack={name: mimic, num_byzantine: 1}",
    "aggregator={name: fedseca, momentum: 0.5}",
    "checkpoint.every=2",
    "run_name=run",
]
ROUNDS = 7
FIRST_PART, KILLED_IN = 3, 6
"""The run is finished after 3 rounds, resumed for more, and killed in round 6: its checkpoints are of 3 and 4."""

KEYS = {item.name for item in (*fields(RoundRecord), *fields(Quality))} - {"times", "quality"}
"""What has to be the same in two runs."""

OF_A_SUMMARY = ("status", "rounds", "final_accuracy", "best_accuracy", "best_round", "final_loss")


def arguments(folder: Path, rounds: int = ROUNDS, seed: int = 0) -> list[str]:
    """The command line of the run.

    Without torchrun nobody ends a rank that waits for one which was killed before they met: it gives up by itself.
    """
    return [*SETTINGS, "runtime.timeout=20", f"rounds={rounds}", f"seed={seed}", f"output_dir={folder}"]


@dataclass(frozen=True)
class Outcome:
    """What a run has left that two runs must share: parameters, records without times, and the summary."""

    state: Tensor
    records: list[dict[str, Any]]
    summary: dict[str, Any]

    @classmethod
    def of(cls, directory: Path, rounds: int = ROUNDS) -> Outcome:
        lines = (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        summary = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
        records = [{key: value for key, value in json.loads(line).items() if key in KEYS} for line in lines]
        return cls(final_state(directory, rounds), records, {key: summary[key] for key in OF_A_SUMMARY})


def half_run(folder: Path, seed: int = 0) -> Path:
    """The directory of the run, as it stands after the kill."""
    assert start(arguments(folder, FIRST_PART, seed)).wait() == 0
    kill = {"FAULT": f"aggregate:0:SIGKILL:{KILLED_IN - FIRST_PART}"}
    killed = start([*arguments(folder, ROUNDS + 1, seed), "--resume", *FAULTS], kill).wait()
    assert killed == -signal.SIGKILL, killed
    return folder / "run"


FAULTS = ["--plugin", str(TESTS / "support" / "faults.py")]


def copy_of(directory: Path, folder: Path) -> Path:
    """The run in another folder."""
    return Path(shutil.copytree(directory, folder / "run", symlinks=True))


def same_state(one: Tensor, other: Tensor) -> bool:
    """To the last bit."""
    return torch.equal(one, other)
