"""Metrics beside accuracy and loss, one per file, by name."""

from fedsim.evaluation.metrics.base import Metric, Predictions, RoundRows, Values, metrics
from fedsim.registry import import_every_module

__all__ = ["Metric", "Predictions", "RoundRows", "Values", "metrics"]

import_every_module(__name__)
