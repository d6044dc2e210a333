"""Fixtures of the tests of sweeps."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedsim.sweep import processes
from fedsim.sweep.plan import Sweep, read_sweep
from fedsim.sweep.processes import end_server
from support.sweeps import AXES, sweep_file


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return read_sweep(sweep_file(tmp_path, axes=AXES), [f"output_dir={tmp_path}", "rounds=2"])


@pytest.fixture
def light_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A server of the test's own that imports next to nothing; modules in ``tmp_path`` can be run."""
    end_server()
    monkeypatch.setattr(processes, "PRELOADED", (processes.__name__,))
    monkeypatch.setattr(processes, "PRELOADED_IF_USED", ())
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    yield
    end_server()
