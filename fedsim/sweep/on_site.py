"""Commands of SLURM, with what ``slurm/site.env`` says."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fedsim.errors import ConfigError
from fedsim.files import user_path

CLONE = Path(__file__).resolve().parent.parent.parent
SCRIPT = Path("slurm", "sweep.sbatch")


def clone() -> Path:
    """The clone of the project whose SLURM scripts are used: the one of this code, else ``$FEDSIM_HOME``.

    Raises:
        ConfigError: fedsim is installed without them.
    """
    places = [CLONE, *(user_path(home, "FEDSIM_HOME") for home in filter(None, [os.environ.get("FEDSIM_HOME")]))]
    found = next((place for place in places if (place / SCRIPT).is_file()), None)
    if found is None:
        problem = f"{SCRIPT} is not part of the installed package"
        raise ConfigError("--slurm", problem, "clone the project, and set FEDSIM_HOME to the clone")
    return found


def on_site(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run a command where ``slurm/site.env`` has been read."""
    script = 'export FEDSIM_HOME="${FEDSIM_HOME:-$0}" && source "$0/slurm/site.env" && exec "$@"'
    environment = dict(os.environ)
    if home := environment.get("FEDSIM_HOME"):
        environment["FEDSIM_HOME"] = str(user_path(home, "FEDSIM_HOME"))
    words = ["bash", "-c", script, str(clone()), *command]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
