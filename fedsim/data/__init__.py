"""Data sources and partitioners, one per file, by name."""

from fedsim.data.base import (
    Columns,
    DataSource,
    Partitioner,
    PartitionSettings,
    Samples,
    Splits,
    Subset,
    TensorSamples,
    partitioners,
    sources,
)
from fedsim.registry import import_every_module

__all__ = [
    "Columns",
    "DataSource",
    "PartitionSettings",
    "Partitioner",
    "Samples",
    "Splits",
    "Subset",
    "TensorSamples",
    "partitioners",
    "sources",
]

import_every_module(__name__)
