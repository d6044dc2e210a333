"""Validation samples: a share of the training samples that nobody trains on."""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from fedsim.data.labels import count_classes
from fedsim.errors import ConfigError, FedsimWarning, counted

KEY = "data.validation"

NAMED = 5
"""Classes that a warning names."""


def draw_validation(labels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Sorted indices of the samples that are kept for validation: ``share`` of all, and of each class to within one.

    Sequences with a class for each position are drawn without regard to classes.

    Args:
        labels: classes of the training samples [N], or of their positions [N, T].

    Raises:
        ConfigError: the share is less than one sample, or leaves none to train on.

    >>> labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
    >>> labels[draw_validation(labels, 0.5, torch.Generator())].tolist()
    [0, 0, 0, 1, 1]
    """
    wanted = count_of(share, len(labels))
    order = torch.randperm(len(labels), generator=generator)
    if labels.ndim == 1:
        sizes = quotas(labels.bincount(), share, wanted)
        of_class = labels[order]
        order = torch.cat([order[of_class == label][:size] for label, size in enumerate(sizes)])
    return order[:wanted].sort().values


def count_of(share: float, samples: int) -> int:
    """How many samples are kept for validation; ConfigError if none is kept, or none is left."""
    wanted = round(share * samples)
    if not 0 < wanted < samples:
        what = "none" if wanted == 0 else "all"
        problem = f"{share:g} of {counted(samples, 'training sample')} is {what} of them"
        raise ConfigError(KEY, problem, f"take a {'larger' if wanted == 0 else 'smaller'} share")
    return wanted


def quotas(counts: Tensor, share: float, total: int) -> list[int]:
    """How many samples of each class: the share rounded down, and one more where most was cut off, up to ``total``.

    >>> quotas(torch.tensor([10, 26, 4]), share=0.25, total=10)
    [3, 6, 1]
    """
    exact = counts.double() * share
    sizes = exact.floor().long()
    most_cut_off = (sizes - exact).argsort(stable=True)
    sizes[most_cut_off[: total - int(sizes.sum())]] += 1
    return [int(size) for size in sizes]


def taken_from(indices: Tensor, validation: Tensor) -> Tensor:
    """The indices without those that are kept for validation."""
    return indices[~torch.isin(indices, validation)]


def warn_of_missing_classes(labels: Tensor, class_names: Sequence[str]) -> None:
    """FedsimWarning for classes without a validation sample.

    Args:
        labels: classes of the validation samples, or of their positions.
    """
    empty = (count_classes(labels, len(class_names)) == 0).nonzero().flatten().tolist()
    if empty:
        shown = ", ".join(f"'{class_names[label]}'" for label in empty[:NAMED]) + ", ..." * (len(empty) > NAMED)
        text = f"{KEY}: among {counted(len(labels), 'validation sample')} there is none of {shown}"
        warnings.warn(f"{text}: take a larger share", FedsimWarning, stacklevel=3)
