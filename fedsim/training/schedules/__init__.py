"""Learning rates over rounds, one schedule per file, by name."""

from fedsim.registry import import_every_module
from fedsim.training.schedules.base import Schedule, schedules

__all__ = ["Schedule", "schedules"]

import_every_module(__name__)
