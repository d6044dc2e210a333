"""``<output_dir>/<run_name>/``: made new for every run, found again by ``--resume``."""

import importlib.metadata
import json
import platform
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedsim import __version__
from fedsim.errors import ConfigError
from fedsim.files import folder_exists, write_text
from fedsim.machine import processor
from fedsim.results_version import FIRST, RESULTS_VERSION
from fedsim.run_directory.damage import read_json
from fedsim.run_directory.launch_facts import ENVIRONMENT, LaunchFacts
from fedsim.yaml_text import yaml_text

CONFIG, METRICS, CHECKPOINTS = "config.yaml", "metrics.jsonl", "checkpoints"

SAVED = "round_*.safetensors"

TASK = "task.json"
"""What the model is built for and shown."""


def new_run_directory(output_dir: Path, name: str) -> Path:
    """A directory that did not exist: ``name``, else ``name-2``, ``name-3``, ..."""
    attempt = 1
    while True:
        path = output_dir / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            attempt += 1
        except OSError as error:
            raise ConfigError(
                "output_dir", f"cannot make {path}: {error.strerror}", "name a writable folder"
            ) from None


def run_directories(output_dir: Path, name: str) -> list[Path]:
    """The directories of runs under this name that got under way, the latest first."""
    pattern = re.compile(re.escape(name) + r"(?:-(\d+))?")
    paths = list(output_dir.iterdir()) if folder_exists(output_dir) else []
    found = [(match, path) for path in paths if (match := pattern.fullmatch(path.name))]  # one of thousands
    runs = [(int(match[1] or 1), path) for match, path in found if folder_exists(path) and _got_under_way(path)]
    return [path for _, path in sorted(runs, reverse=True)]


def _got_under_way(directory: Path) -> bool:
    return (directory / CONFIG).exists() or (directory / METRICS).exists() or has_checkpoints(directory)


def has_checkpoints(directory: Path) -> bool:
    """Whether a run has left checkpoints that may be resumed from."""
    return any((directory / CHECKPOINTS).glob(SAVED))


def newest_round(directory: Path) -> int:
    """After which round the newest checkpoint was written; 0 without any."""
    numbers = (re.fullmatch(r"round_(\d+)", path.stem) for path in (directory / CHECKPOINTS).glob(SAVED))
    return max((int(number[1]) for number in numbers if number), default=0)


def write_yaml(path: Path, values: Mapping[str, Any]) -> None:
    """Write a mapping as YAML, whole or not at all."""
    write_text(path, yaml_text(values))


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a mapping as JSON, whole or not at all."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def results_version(directory: Path) -> int | None:
    """Of the code that made a run, as its ``environment.json`` says; None if that cannot be read."""
    said = read_json(directory / ENVIRONMENT)
    version = said.get("results_version", FIRST) if said else None
    return version if type(version) is int else None


def run_id(directory: Path) -> str:
    """The id by which a run recognises what it has written: a new one for a new run, empty for one older than ids."""
    said = read_json(directory / ENVIRONMENT)
    return str(said.get("run", "")) if said else secrets.token_hex(8)


def environment(transport: str, ranks: int, device: str) -> dict[str, Any]:
    """Versions of everything, and the host facts that speed (never results on one machine type) depends on."""
    names = ["torch", "torchvision", "timm", "numpy", "scikit-learn", "mlxtend", "safetensors", "pydantic"]
    versions = {"fedsim": __version__}  # of the code that runs: an installed distribution may be another one
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "results_version": RESULTS_VERSION,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "ranks": ranks,
        "device": device,
        "transport": transport,
        "launch": LaunchFacts.of_environment().to_dict(),
        "versions": versions,
    }
