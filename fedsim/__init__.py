"""fedsim: federated learning under Byzantine attack, simulated on torch.distributed.

From Python: :func:`fedsim.run`, :func:`fedsim.load_run`, :func:`fedsim.load_sweep`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedsim.api import run
    from fedsim.results import RunResult, SweepResult, load_run, load_sweep

__version__ = "0.1.0"

__all__ = ["RunResult", "SweepResult", "__version__", "load_run", "load_sweep", "run"]

_OF_RESULTS = ("RunResult", "SweepResult", "load_run", "load_sweep")
_HOMES = {"run": "fedsim.api", **dict.fromkeys(_OF_RESULTS, "fedsim.results")}


def __getattr__(name: str) -> Any:
    """What takes seconds to import is imported when it is asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fedsim' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
