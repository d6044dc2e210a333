"""Fixtures of the tests of sweeps."""

from pathlib import Path

import pytest

from fedsim.sweep.plan import Sweep, read_sweep
from support.sweeps import AXES, sweep_file


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return read_sweep(sweep_file(tmp_path, axes=AXES), [f"output_dir={tmp_path}", "rounds=2"])
