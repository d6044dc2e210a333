"""Augmentations of training images, one per file, by name."""

from fedsim.data.augmentations.base import Augmentation, augmentations, uniform
from fedsim.registry import import_every_module

__all__ = ["Augmentation", "augmentations", "uniform"]

import_every_module(__name__)
