"""Processes that were started several times, each of which would be a run."""

import pytest

from fedsim.comm.launchers import refuse_copies
from fedsim.comm.place import RankPlace
from fedsim.errors import ConfigError

ONE_TORCHRUN = {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "4", "GROUP_WORLD_SIZE": "1"}


@pytest.mark.parametrize(
    "variable", ["SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE"]
)
def test_copies_are_refused_and_the_right_command_is_named(variable: str) -> None:
    with pytest.raises(ConfigError, match=f"^{variable}: .*3 processes.*torchrun --standalone --nproc_per_node=3 "):
        RankPlace.from_environment({variable: "3"})
    with pytest.raises(ConfigError, match="nproc_per_node=12 "):
        RankPlace.from_environment({**ONE_TORCHRUN, variable: "3"})


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_STEP_NUM_TASKS": "1", "PMI_SIZE": "1"},
        {"SLURM_NTASKS": "8", "SLURM_NPROCS": "8", "SLURM_PROCID": "0"},  # a batch script
        {"SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_ID": "4294967290"},  # a shell of salloc
        {**ONE_TORCHRUN, "SLURM_STEP_NUM_TASKS": "2", "GROUP_WORLD_SIZE": "2"},  # a torchrun on each of two nodes
        {"WORLD_SIZE": "2", "SLURM_STEP_NUM_TASKS": "2"},  # ranks that know each other
    ],
)
def test_what_is_one_run_goes_on(environment: dict[str, str]) -> None:
    refuse_copies(environment)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_shell_of_srun_counts_no_processes_but_a_step_within_does(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.isatty", lambda descriptor: terminal)
    environment = {"SLURM_STEP_NUM_TASKS": "5", "SLURM_PTY_PORT": "4000"}
    if terminal:
        refuse_copies(environment)
    else:
        with pytest.raises(ConfigError, match="srun has started 5"):
            refuse_copies(environment)
