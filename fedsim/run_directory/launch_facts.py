"""Which launch a process belongs to: torchrun and SLURM start the same one again after a failure."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from fedsim.run_directory.damage import read_json

ENVIRONMENT = "environment.json"


@dataclass(frozen=True)
class LaunchFacts:
    """What torchrun and SLURM say about this launch.

    Attributes:
        torchrun: its rendezvous id, None where it has none of its own.
        slurm_job: the id of the SLURM job.
    """

    torchrun: str | None
    slurm_job: str | None

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> "LaunchFacts":
        """The facts of this process.

        >>> LaunchFacts.of_environment({"TORCHELASTIC_RUN_ID": "none", "SLURM_JOB_ID": "17"})
        LaunchFacts(torchrun=None, slurm_job='17')
        """
        run_id = environment.get("TORCHELASTIC_RUN_ID")
        return cls(None if run_id == "none" else run_id, environment.get("SLURM_JOB_ID"))

    def to_dict(self) -> dict[str, str | None]:
        return asdict(self)


def is_relaunch(directory: Path, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process continues the launch that the run in ``directory`` belongs to.

    That is so in a SLURM job that was requeued, and under ``torchrun --max-restarts``. Only torchrun on the host of
    the failure counts it, so over several hosts the same rendezvous id is enough.
    """
    try:
        before = LaunchFacts(**read_json(directory / ENVIRONMENT)["launch"])
    except (KeyError, TypeError):
        return False
    now = LaunchFacts.of_environment(environment)
    requeued = environment.get("SLURM_RESTART_COUNT", "0") != "0"
    if requeued and now.slurm_job is not None and now.slurm_job == before.slurm_job:
        return True
    several_hosts = environment.get("LOCAL_WORLD_SIZE") != environment.get("WORLD_SIZE")
    restarted = environment.get("TORCHELASTIC_RESTART_COUNT", "0") != "0" or several_hosts
    return restarted and now.torchrun is not None and now.torchrun == before.torchrun
