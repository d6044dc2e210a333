"""Loggers, which send the records of a run elsewhere, one per file, by name."""

from fedsim.records.loggers.base import LoggedRun, Logger, loggers
from fedsim.registry import import_every_module

__all__ = ["LoggedRun", "Logger", "loggers"]

import_every_module(__name__)
