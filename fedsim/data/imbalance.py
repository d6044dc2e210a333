"""Classes of unequal sizes: training samples left out, so that the classes become rarer one after the other."""

import torch
from torch import Tensor

from fedsim.errors import ConfigError

KEY = "data.imbalance"


def draw_imbalanced(labels: Tensor, factor: float, generator: torch.Generator) -> Tensor:
    """Sorted indices of the samples that are kept, as many of class c as :func:`long_tailed_sizes` says.

    Args:
        labels: classes of the training samples [N].
        factor: how many times as many samples the first class is to have as the last, at least 1.

    Raises:
        ConfigError: labels are of positions [N, T]: a sequence has no one class.

    >>> labels = torch.arange(3).repeat(16)
    >>> labels[draw_imbalanced(labels, 16.0, torch.Generator())].bincount().tolist()
    [16, 4, 1]
    """
    if labels.ndim > 1:
        raise ConfigError(KEY, "each position of a sample has a class of its own", "leave it out")
    order = torch.randperm(len(labels), generator=generator)
    of_class = labels[order]
    sizes = long_tailed_sizes(labels.bincount(), factor)
    return torch.cat([order[of_class == label][:size] for label, size in enumerate(sizes)]).sort().values


def long_tailed_sizes(counts: Tensor, factor: float) -> list[int]:
    """How many samples each class keeps: n of the first, n / factor of the last, and falling geometrically between.

    n is the size of the largest class; a class keeps no more than it has, and one sample at least if it has any
    (Cao, Wei, Gaidon, Arechiga and Ma, NeurIPS 2019, arXiv:1906.07413, who round down as well).

    Args:
        counts: samples of each class [C].

    >>> long_tailed_sizes(torch.tensor([400, 400, 400, 30]), factor=8.0)
    [400, 200, 100, 30]
    """
    last = max(1, len(counts) - 1)
    wanted = counts.max() * factor ** -(torch.arange(len(counts), dtype=torch.float64) / last)
    # What rounding has left just below a whole number is that number.
    return torch.minimum((wanted + 1e-9).floor().long().clamp(min=1), counts).tolist()
