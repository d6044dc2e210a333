"""Sweeps, and what their runs leave."""

import json
from contextlib import suppress
from pathlib import Path

import psutil

from fedsim.sweep.plan import Sweep
from fedsim.yaml_text import yaml_text
from support.launch import ROOT

BASE = ROOT / "configs" / "quickstart.yaml"


def sweep_file(folder: Path, **content: object) -> Path:
    path = folder / "grid.yaml"
    path.write_text(yaml_text({"base": str(BASE), **content}))
    return path


AXES = {"attack": ["none", {"name": "fang", "target": "krum"}], "aggregator": ["cwtm", "krum"], "seed": [0, 1]}


def leave(sweep: Sweep, position: int, status: str | None, *accuracies: float | None, reason: str = "") -> None:
    """What a run leaves in its directory."""
    directory = sweep.cells[position].directory
    directory.mkdir(parents=True)
    (directory / "config.yaml").touch()
    lines = [json.dumps({"round": number + 1, "accuracy": value}) for number, value in enumerate(accuracies)]
    (directory / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    if status is not None:
        (directory / "summary.json").write_text(json.dumps({"status": status, "seconds": 10.0, "reason": reason}))


def servers() -> list[int]:
    """Children of this process that fork cells."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):  # it has ended; it may be another test's
            if "multiprocessing.forkserver" in " ".join(child.cmdline()):
                found.append(child.pid)
    return found
