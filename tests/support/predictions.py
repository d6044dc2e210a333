"""Predictions of a model that is right rather often."""

import torch
from torch import Tensor

from fedsim.evaluation.metrics import Predictions


def said(logits: Tensor, labels: Tensor) -> Predictions:
    """Predictions of samples that belong to nobody."""
    names = tuple(f"class {number}" for number in range(logits.shape[1]))
    return Predictions(logits=logits, labels=labels, owners=torch.full_like(labels, -1), class_names=names)


def random_predictions(seed: int, count: int = 200, classes: int = 7) -> Predictions:
    """Class 3 has no sample; some logits are tied."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([label for label in range(classes) if label != 3])
    labels = labels[torch.randint(len(labels), (count,), generator=generator)]
    logits = torch.randn(count, classes, generator=generator)
    logits[torch.arange(count), labels] += 1
    logits[::5] = logits[::5].round()
    return said(logits, labels)
