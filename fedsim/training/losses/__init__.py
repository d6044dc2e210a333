"""What clients minimise, one loss per file, by name."""

from fedsim.registry import import_every_module
from fedsim.training.losses.base import ClassCounts, Loss, LossSettings, label_weights, losses

__all__ = ["ClassCounts", "Loss", "LossSettings", "label_weights", "losses"]

import_every_module(__name__)
