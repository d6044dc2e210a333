"""What a data set of a plugin has loaded: whether it is what it must be, before anything is made of it."""

import torch
from torch import Tensor

from fedsim.data.samples import Samples, Splits
from fedsim.errors import ComponentError
from fedsim.registry import in_words

INPUTS = (torch.uint8, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64)


def require_splits(loaded: object, who: str) -> Splits:
    """The splits that a method ``load`` has returned.

    Args:
        who: name and class of the data set, for the message.

    Raises:
        ComponentError: labels are no classes, or inputs do not fit them.
    """
    if not isinstance(loaded, Splits):
        raise ComponentError(f"{who}: load returned {in_words(loaded)}, not Splits")
    for side, samples in (("train", loaded.train), ("test", loaded.test)):
        if problem := _what_is_wrong(samples, loaded):
            raise ComponentError(f"{who}: of the samples to {side}, {problem}")
    return loaded


def _what_is_wrong(samples: Samples, splits: Splits) -> str | None:
    labels, classes = samples.labels, splits.num_classes
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        kind = labels.dtype if isinstance(labels, Tensor) else in_words(labels)
        return f"labels are {kind}, not torch.int64"
    if labels.ndim == 1 and len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        return f"labels go from {int(labels.min())} to {int(labels.max())}, and class_names has {classes} names"
    for name, values in samples.columns.items():
        if len(values) != len(labels):
            return f"the column {name} has {len(values)} values for {len(labels)} labels"
    inputs = getattr(samples, "inputs", labels)
    if len(inputs) != len(labels):
        return f"there are {len(inputs)} inputs for {len(labels)} labels"
    return _of_first(samples.pick(torch.tensor([0])), splits) if len(labels) else None


def _of_first(picked: Tensor | list[Tensor], splits: Splits) -> str | None:
    first = picked[0]
    if first.dtype not in INPUTS:
        return f"inputs are {first.dtype}, not floats, uint8 images or int64 token ids"
    if splits.one_size and tuple(first.shape) != tuple(splits.input_shape):
        return f"an input has shape {list(first.shape)}, and input_shape is {list(splits.input_shape)}"
    return None
