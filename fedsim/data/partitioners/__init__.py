"""Partitioners, one per file, by name: how training samples are distributed over the clients."""

from fedsim.data.partitioners.base import Partitioner, PartitionSettings, partitioners
from fedsim.registry import import_every_module

__all__ = ["PartitionSettings", "Partitioner", "partitioners"]

import_every_module(__name__)
