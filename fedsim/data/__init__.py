"""Data: labelled samples, where they come from, how clients share them, and the way to a model's input."""

from fedsim.data.samples import Columns, Samples, Splits, Subset, TensorSamples

__all__ = ["Columns", "Samples", "Splits", "Subset", "TensorSamples"]
