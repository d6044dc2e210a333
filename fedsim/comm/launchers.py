"""Who started this process: torchrun starts the ranks of a run; others start unrelated copies."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from fedsim.errors import ConfigError


@dataclass(frozen=True)
class Launcher:
    """A program that starts several processes at once, and how to start torchrun instead.

    Attributes:
        variable: in it each of the processes finds how many there are.
        command: the right command, for N ranks.
    """

    name: str
    variable: str
    command: str


TORCHRUN = "torchrun --standalone --nproc_per_node={ranks} fedsim/main.py"
OF_SLURM = f"srun --ntasks=1 --cpus-per-task={{ranks}} {TORCHRUN} (over several nodes: slurm/submit.sh)"
OF_MPI = f"{TORCHRUN} (over several hosts: launch/multinode.sh)"

LAUNCHERS = (
    Launcher("srun", "SLURM_STEP_NUM_TASKS", OF_SLURM),
    Launcher("mpirun (Open MPI)", "OMPI_COMM_WORLD_SIZE", OF_MPI),
    Launcher("mpirun (MPICH or Intel MPI)", "PMI_SIZE", OF_MPI),
    Launcher("mpirun (MVAPICH2)", "MV2_COMM_WORLD_SIZE", OF_MPI),
)


def refuse_copies(environment: Mapping[str, str] = os.environ) -> None:
    """Refuse to be one of several processes each of which would be a run of its own.

    That is so without torchrun, and where more torchruns were started than take part in the run. A variable that is
    there because a batch script or an interactive shell runs in an allocation of several tasks counts no processes.

    Raises:
        ConfigError: names the launcher's variable and the right command.
    """
    together = _number(environment, "GROUP_WORLD_SIZE") or _number(environment, "WORLD_SIZE") or 1
    for launcher in LAUNCHERS:
        started = _number(environment, launcher.variable)
        if started <= together or (launcher.name == "srun" and _in_a_shell(environment)):
            continue
        problem = f"{launcher.name} has started {started} processes, and each would be a run of its own"
        ranks = started * max(1, _number(environment, "LOCAL_WORLD_SIZE"))
        remedy = f"let torchrun start the ranks: {launcher.command.format(ranks=ranks)}"
        raise ConfigError(launcher.variable, problem, remedy)


def _in_a_shell(environment: Mapping[str, str]) -> bool:
    """Whether this is typed in a shell of ``salloc`` or ``srun --pty``: one process, whatever the tasks of the step.

    A step that is started in such a shell inherits the terminal's variables, but not the terminal.
    """
    interactive_step = environment.get("SLURM_STEP_ID") == str(0xFFFFFFFA)
    return interactive_step or ("SLURM_PTY_PORT" in environment and any(map(os.isatty, range(3))))


def _number(environment: Mapping[str, str], variable: str) -> int:
    """The number in a variable, 0 if there is none."""
    text = environment.get(variable, "")
    return int(text) if text.isdecimal() else 0
