"""Data sets, one per file, by name."""

from fedsim.data.sources.base import DataSource, sources
from fedsim.registry import import_every_module

__all__ = ["DataSource", "sources"]

import_every_module(__name__)
