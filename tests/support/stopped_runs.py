"""A run of 7 rounds, and how it is stopped after 5 and resumed."""

import json
from pathlib import Path
from typing import Any

import pytest

from fedsim.main import main
from support.runs import final_state, records

SMALL = [
    "data={name: synthetic, num_train: 60, num_test: 40, num_classes: 4, shape: [1, 6, 6]}",
    "model={name: mlp, hidden: [8]}",
    "attack={name: sign_flip, num_byzantine: 1}",
    "aggregator={name: cwmed}",
    "clients.count=4",
    "clients.local_steps=3",
    "clients.optimizer={name: sgd, lr: 0.2}",
    "checkpoint={every: 2, keep: 3}",
    "tracking.tensorboard=false",
    "run_name=run",
]
"""After 5 rounds there are checkpoints of rounds 2, 4 and 5."""


def execute(folder: Path, *more: str) -> int:
    return main([*SMALL, f"output_dir={folder}", *more])


def summary(folder: Path) -> dict[str, Any]:
    values = json.loads((folder / "run" / "summary.json").read_text())
    return {key: value for key, value in values.items() if key != "seconds"}


def checkpoint(folder: Path, round_number: int) -> Path:
    return folder / "run" / "checkpoints" / f"round_{round_number:06d}.safetensors"


def resume(folder: Path, capfd: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    capfd.readouterr()
    return execute(folder, "rounds=7", "--resume", *more), capfd.readouterr().err


def assert_as_never_stopped(folder: Path, past: Path) -> None:
    assert records(folder) == records(past / "whole")
    assert summary(folder) == summary(past / "whole")
    assert final_state(folder / "run", 7).equal(final_state(past / "whole" / "run", 7))
