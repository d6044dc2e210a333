"""Robust aggregators, one per file, by name.

>>> import torch
>>> from fedsim.aggregators import build_aggregator
>>> rows = torch.tensor([[1.0, 2.0], [1.2, 1.8], [900.0, -900.0]])
>>> build_aggregator("cwmed")(rows)
tensor([1.2000, 1.8000])
"""

from collections.abc import Mapping
from typing import Any

from fedsim.aggregators.base import Aggregator, Diagnostics, TolerantAggregator, aggregators
from fedsim.registry import Description, import_every_module
from fedsim.settings import Schema
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix

__all__ = [
    "Aggregator",
    "Diagnostics",
    "RoundContext",
    "Schema",
    "TolerantAggregator",
    "UpdateMatrix",
    "aggregators",
    "available_aggregators",
    "build_aggregator",
]

import_every_module(__name__)


def available_aggregators() -> Mapping[str, Description]:
    """Every aggregator by name, with its line of help, settings and paper."""
    return aggregators.describe()


def build_aggregator(name: str, **settings: Any) -> Aggregator:
    """The aggregator ``name`` with these settings.

    Raises:
        ConfigError: unknown name or setting (it names the nearest valid one), or a bad value.
    """
    return aggregators.build(name, **settings)
