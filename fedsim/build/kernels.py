"""Whether the server's column maps are compiled."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from fedsim.comm import Communicator
from fedsim.config.source import read_yaml
from fedsim.run_directory.directory import CONFIG
from fedsim.updates.column_maps import EAGER, MapRunner
from fedsim.updates.compiled_maps import MOST_ROWS, CompiledMaps

if TYPE_CHECKING:
    from fedsim.build.components import Components

log = logging.getLogger(__name__)

KEY = "runtime.compile_kernels"

SECONDS_TO_COMPILE = 30
"""What the maps of a run take: two or three of them, 8 to 15 s each."""

SECONDS_SAVED = {"cpu": 2e-9, "cuda": 3e-11}
"""What compiled maps save for each value of the matrix: about 10 of 14 reads of a trimmed mean."""


def compiling_pays(rows: int, columns: int, rounds: int, device: str) -> bool:
    """Whether compiled maps of rows [K, D] save more time in so many rounds than it takes to compile them.

    >>> compiling_pays(10, 11_173_962, rounds=20, device="cpu"), compiling_pays(10, 11_173_962, 200, "cpu")
    (False, True)
    """
    return rows <= MOST_ROWS and rows * columns * rounds * SECONDS_SAVED[device] > SECONDS_TO_COMPILE


def resolve_kernels(components: Components, comm: Communicator, parameters: int, earlier: Path | None) -> Components:
    """The components with ``runtime.compile_kernels`` decided; every rank calls it alike, and rank 0 decides.

    What ``auto`` means depends on the configuration and the model alone, and a run that is resumed keeps it.

    Args:
        parameters: D, of the model.
        earlier: directory of the run that is resumed, if there is one.
    """
    config = components.config
    wanted = config.runtime.compile_kernels
    if wanted == "auto":
        kept = _of_run(earlier) if comm.rank == 0 else None
        pays = compiling_pays(config.participants_per_round, parameters, config.rounds, comm.device.type)
        decided = torch.tensor([pays if kept is None else kept])
        comm.broadcast(decided)
        wanted = bool(decided)
    runtime = config.runtime.model_copy(update={"compile_kernels": wanted})
    return replace(components, config=config.model_copy(update={"runtime": runtime}))


def _of_run(directory: Path | None) -> bool | None:
    """What was decided for the run in a directory, if it is known."""
    if directory is None or not (directory / CONFIG).exists():
        return None
    runtime = read_yaml(directory / CONFIG).get("runtime")
    kept = runtime.get("compile_kernels") if isinstance(runtime, dict) else None
    return kept if isinstance(kept, bool) else None


def column_maps(components: Components) -> MapRunner:
    """Who runs the column maps of the server on this rank."""
    if components.config.runtime.compile_kernels is not True:
        return EAGER
    return CompiledMaps(lambda sentence: log.warning("%s: %s", KEY, sentence))
