"""What is read afterwards: runs and sweeps as data frames and models."""

from fedsim.results.run_result import RunResult, load_run
from fedsim.results.sweep_result import SweepResult, load_sweep

__all__ = ["RunResult", "SweepResult", "load_run", "load_sweep"]
