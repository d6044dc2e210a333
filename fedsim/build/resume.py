"""Where a run is recorded, and whether it continues an earlier one."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch

from fedsim.build.components import Components
from fedsim.comm import Communicator
from fedsim.config.source import differing_keys, read_yaml
from fedsim.errors import ConfigError
from fedsim.run_directory.checkpoint import on_device
from fedsim.run_directory.directory import new_run_directory, run_directories
from fedsim.run_directory.launch_facts import is_relaunch
from fedsim.server.round import ServerRound
from fedsim.updates.global_model import GlobalModel

MAY_CHANGE = (
    "rounds",
    "output_dir",
    "run_name",
    "evaluation",
    "checkpoint",
    "tracking",
    "runtime.timeout",
    "runtime.check_every",
    "runtime.on_divergence",
)
"""Keys that may have other values when a run is resumed: they decide how long it is and what it records."""


def choose_run_directory(components: Components, *, resume: bool) -> tuple[Path, bool]:
    """Where the run is recorded, and whether it is resumed.

    As asked for, the newest directory of this name is; without being asked, that of this launch if it starts again.
    It must hold the same configuration.

    Raises:
        ConfigError: it holds another one, or cannot be made.
    """
    output_dir, name = Path(components.config.output_dir), components.run_name()
    known = run_directories(output_dir, name)
    directory = next((path for path in known if resume or is_relaunch(path)), None)
    if directory is None:
        return new_run_directory(output_dir, name), resume
    stored = read_yaml(directory / "config.yaml")
    changed = [
        key
        for key in differing_keys(stored, components.resolved())
        if not any(key == free or key.startswith(f"{free}.") for free in MAY_CHANGE)
    ]
    if changed and resume:
        raise ConfigError(
            "--resume", f"{directory} was run with other values of {', '.join(changed)}", "start a new run instead"
        )
    return (new_run_directory(output_dir, name), False) if changed else (directory, True)


def restore(
    comm: Communicator, model: GlobalModel, server: ServerRound, loaded: tuple[int, dict[str, Any]] | None
) -> int:
    """Bring the checkpoint of rank 0 to all ranks; the number of rounds done."""
    done = torch.zeros(1, dtype=torch.int64)
    if comm.rank == 0 and loaded is not None:
        done[0] = loaded[0]
        _load(model, loaded[1])
        server.load_state_dict(on_device(loaded[1]["server"], comm.device))
    comm.broadcast(done)
    comm.broadcast(model.state)
    return int(done)


def _load(model: GlobalModel, state: Mapping[str, Any]) -> None:
    """The global model of a checkpoint, in which it is named tensors, or one flat tensor (fedsim-3)."""
    if "model" not in state:
        model.state.copy_(state["state"])
        return
    for name, values in model.named().items():
        values.copy_(state["model"][name])


def require_run(output_dir: Path, name: str) -> None:
    """Before a run is resumed: there is one of this name.

    Raises:
        ConfigError: there is none; the message says what was looked for, and which runs there are.
    """
    if run_directories(output_dir, name):
        return
    runs = sorted(path.parent.name for path in output_dir.glob("*/config.yaml"))
    near = get_close_matches(name, runs, n=3, cutoff=0.5)
    problem = f"there is no run {output_dir / name}, nor one with -2, -3, ... behind the name"
    others = f"; nearest: {', '.join(near)}" if near else f"; {output_dir} holds no run" if not runs else ""
    remedy = "name it by run_name or output_dir, or start it without --resume"
    raise ConfigError("--resume", f"{problem}{others}", remedy)
