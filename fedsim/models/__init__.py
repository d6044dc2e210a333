"""Models, one per file, by name."""

from fedsim.models.base import ModelBuilder, models
from fedsim.models.task import Task
from fedsim.registry import import_every_module

__all__ = ["ModelBuilder", "Task", "models"]

import_every_module(__name__)
