"""Fixtures of runs that are stopped, damaged and resumed."""

import shutil
from pathlib import Path

import pytest

from support.stopped_runs import execute


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 7 rounds that was never stopped, one of 5, and one of 5 with another seed."""
    folder = tmp_path_factory.mktemp("past")
    assert execute(folder / "whole", "rounds=7") == 0
    assert execute(folder / "stopped", "rounds=5") == 0
    assert execute(folder / "other", "rounds=5", "seed=11") == 0
    return folder


@pytest.fixture
def stopped(past: Path, tmp_path: Path) -> Path:
    """The run of 5 rounds, copied to another place."""
    shutil.copytree(past / "stopped", tmp_path / "here")
    return tmp_path / "here"
