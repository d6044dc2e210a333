"""Facts of a launch."""

import json
from pathlib import Path

import pytest

from fedsim.run_directory.launch_facts import is_relaunch


@pytest.mark.parametrize(
    ("before", "now", "again"),
    [
        ({"torchrun": "a"}, {"TORCHELASTIC_RUN_ID": "a", "TORCHELASTIC_RESTART_COUNT": "1"}, True),
        ({"torchrun": "a"}, {"TORCHELASTIC_RUN_ID": "a", "TORCHELASTIC_RESTART_COUNT": "0"}, False),
        ({"torchrun": "a"}, {"TORCHELASTIC_RUN_ID": "b", "TORCHELASTIC_RESTART_COUNT": "1"}, False),
        ({"torchrun": None}, {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": "1"}, False),
        ({"torchrun": "a"}, {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}, True),
        ({"slurm_job": "7"}, {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "1"}, True),
        ({"slurm_job": "7"}, {"SLURM_JOB_ID": "7"}, False),  # twice in one job, by hand
        ({"slurm_job": "7"}, {"SLURM_JOB_ID": "8", "SLURM_RESTART_COUNT": "1"}, False),
        ({}, {}, False),
    ],
)
def test_a_launch_that_starts_again_knows_its_run(
    tmp_path: Path, before: dict[str, str | None], now: dict[str, str], again: bool
) -> None:
    launch = {"torchrun": None, "slurm_job": None, **before}
    (tmp_path / "environment.json").write_text(json.dumps({"launch": launch}))
    assert is_relaunch(tmp_path, now) is again
    assert not is_relaunch(tmp_path / "nothing", now)
