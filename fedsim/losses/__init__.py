"""What clients minimise, one loss per file, by name."""

from fedsim.losses.base import ClassCounts, Loss, LossSettings, losses
from fedsim.registry import import_every_module

__all__ = ["ClassCounts", "Loss", "LossSettings", "losses"]

import_every_module(__name__)
