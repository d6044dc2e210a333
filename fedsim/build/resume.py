"""Where a run is recorded, and whether it continues an earlier one."""

from pathlib import Path
from typing import Any

import torch

from fedsim.build.components import Components
from fedsim.comm import Communicator
from fedsim.config.source import differing_keys, read_yaml
from fedsim.errors import ConfigError
from fedsim.files import file_name
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
    output_dir, name = components.output_dir, file_name(components.run_name())
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
        model.state.copy_(loaded[1]["state"])
        server.load_state_dict(on_device(loaded[1]["server"], comm.device))
    comm.broadcast(done)
    comm.broadcast(model.state)
    return int(done)
