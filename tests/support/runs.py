"""A small run, started as users start it and watched from outside."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from fedsim.run_directory.checkpoint import unpack
from support.launch import MAIN, TESTS, clean_environment

ROUNDS = 8
RUN = [
    "data={name: synthetic, num_train: 2000, num_test: 300, num_classes: 4, shape: [1, 20, 20], spread: 2.0}",
    "model={name: small_cnn, width: 8, hidden: 16, batch_norm: true, dropout: 0.2}",
    "clients.count=4",
    "clients.momentum=0.5",
    "clients.optimizer={name: sgd, lr: 0.05}",
    "attack={name: mimic, num_byzantine: 1}",
    "aggregator={name: fedseca, momentum: 0.5}",
    "checkpoint.every=3",
    "run_name=run",
]


def command(ranks: int, folder: Path, *more: str, launcher: Sequence[str] = ()) -> list[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}", *launcher]
    arguments = [str(MAIN), *RUN, f"rounds={ROUNDS}", f"output_dir={folder}", *more]
    return [sys.executable, *(torchrun if ranks > 1 else []), *arguments]


def start(
    ranks: int, folder: Path, *more: str, launcher: Sequence[str] = (), variables: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(ranks, folder, *more, launcher=launcher),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**clean_environment(), **(variables or {})},
        start_new_session=True,
    )


def start_and_hold(ranks: int, folder: Path, rounds: int) -> subprocess.Popen[str]:
    """The same; after so many rounds it waits for a signal that asks it to stop, and cannot end before that comes."""
    held = {"FAULT": f"evaluate:0:wait:{rounds + 1}"}
    return start(ranks, folder, "--plugin", str(TESTS / "support" / "faults.py"), variables=held)


def lines(folder: Path) -> list[str]:
    path = folder / "run" / "metrics.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def wait_for_rounds(process: subprocess.Popen[str], folder: Path, rounds: int) -> None:
    deadline = time.monotonic() + 120
    while len(lines(folder)) < rounds:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def final_state(run_directory: Path, round_index: int) -> torch.Tensor:
    """Global parameters and buffers in the checkpoint after ``round`` rounds, in the order of the model."""
    with safe_open(run_directory / "checkpoints" / f"round_{round_index:06d}.safetensors", "pt") as file:
        tree = json.loads(file.metadata()["state"])
        state = unpack(tree, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 - not a dict
    return torch.cat([tensor.reshape(-1) for tensor in state["model"].values()])


def records(folder: Path) -> list[dict[str, Any]]:
    return [{key: value for key, value in json.loads(line).items() if key != "times"} for line in lines(folder)]


def status(folder: Path) -> str:
    return json.loads((folder / "run" / "summary.json").read_text())["status"]


def assert_same(folder: Path, other: Path, rounds: int = ROUNDS) -> None:
    assert torch.equal(final_state(folder / "run", rounds), final_state(other / "run", rounds))
    assert records(folder) == records(other)


def children(process: subprocess.Popen[str]) -> list[int]:
    """The ranks that torchrun has started."""
    try:
        return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def nothing_is_left(folder: Path) -> None:
    """No process works in the folder, no shared memory has a name."""
    deadline = time.monotonic() + 10
    while (left := processes_with(f"output_dir={folder}")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left
    assert not [name for name in os.listdir("/dev/shm") if name.startswith("fedsim")]


def processes_with(beginning: str) -> dict[int, list[str]]:
    """Processes of this machine with a word on their command line that begins so, and all their words."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has just ended
            continue
        if any(word.startswith(beginning) for word in words):
            found[int(process.name)] = words
    return found
