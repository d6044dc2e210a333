"""Data sources and partitioners, one per file, by name."""

from fedsim.data.base import DataSource, Partitioner, Samples, Splits, TensorSamples, partitioners, sources
from fedsim.registry import import_every_module

__all__ = ["DataSource", "Partitioner", "Samples", "Splits", "TensorSamples", "partitioners", "sources"]

import_every_module(__name__)
