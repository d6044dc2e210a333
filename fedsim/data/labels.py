"""Labels of samples: a class for each [N], or one for each position of a sequence [N, T], some of which have none."""

import torch
from torch import Tensor

IGNORED = -100
"""In place of a class where a position has none, such as padding; the number that torch's losses leave out, too."""


def count_classes(labels: Tensor, num_classes: int) -> Tensor:
    """How many labels each class has [C].

    >>> count_classes(torch.tensor([[0, 2], [2, IGNORED]]), num_classes=3).tolist()
    [1, 0, 2]
    """
    flat = labels.flatten()
    return torch.bincount(flat[flat != IGNORED], minlength=num_classes)


def count_labels(labels: Tensor) -> Tensor:
    """How many labels each sample has [N]: one, or as many as positions of a sequence have a class.

    >>> count_labels(torch.tensor([4, 1])).tolist(), count_labels(torch.tensor([[0, 2], [2, IGNORED]])).tolist()
    ([1, 1], [2, 1])
    """
    return (labels != IGNORED)[..., None].flatten(1).sum(1)
