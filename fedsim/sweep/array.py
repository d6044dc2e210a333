"""Cells as one SLURM array job."""

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from fedsim.errors import ConfigError
from fedsim.files import as_typed, write_text
from fedsim.sweep.plan import Cell, Sweep
from fedsim.sweep.runner import keep_config

CLONE = Path(__file__).resolve().parent.parent.parent
SCRIPT = Path("slurm", "sweep.sbatch")


def clone() -> Path:
    """The clone of the project whose SLURM scripts are used: the one of this code, else ``$FEDSIM_HOME``.

    Raises:
        ConfigError: fedsim is installed without them.
    """
    places = [CLONE, *map(Path, filter(None, [os.environ.get("FEDSIM_HOME")]))]
    found = next((place for place in places if (place / SCRIPT).is_file()), None)
    if found is None:
        problem = f"{SCRIPT} is not part of the installed package"
        raise ConfigError("--slurm", problem, "clone the project, and set FEDSIM_HOME to the clone")
    return found


def array_command(
    sweep: Sweep, cells: Sequence[Cell], throttle: int | None, options: Sequence[str], plugins: Sequence[Path]
) -> list[str]:
    """What is typed to submit the cells; which task runs which is written beside the sweep's records.

    Args:
        throttle: tasks at a time.
        options: of sbatch.
    """
    listing = sweep.folder / "cells" / f"array-{time.strftime('%Y%m%d-%H%M%S')}.txt"
    write_text(listing, "".join(f"{as_typed(keep_config(sweep, cell).resolve())}\n" for cell in cells))
    limit = f"%{throttle}" if throttle else ""
    outputs = sweep.folder.resolve() / "cells" / "%A_%a.out"
    more = [word for plugin in plugins for word in ("--plugin", as_typed(plugin.resolve()))]
    array = [f"--array=0-{len(cells) - 1}{limit}", f"--output={outputs}", "--parsable", *options]
    return ["sbatch", *array, str(clone() / SCRIPT), str(listing.resolve()), *more]


def submit(command: Sequence[str]) -> str:
    """Submit with what ``slurm/site.env`` says; the job's number.

    Raises:
        ConfigError: SLURM refuses, or is not here.
    """
    script = 'export FEDSIM_HOME="${FEDSIM_HOME:-$0}" && source "$0/slurm/site.env" && exec "$@"'
    done = subprocess.run(["bash", "-c", script, str(clone()), *command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ConfigError("--slurm", done.stderr.strip() or "sbatch failed", "see slurm/site.env")
    return done.stdout.strip()
