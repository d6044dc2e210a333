"""A digest by which other data are recognised, quick even for data that are mapped from disk."""

import hashlib

import torch

from fedsim.data.images.channel_statistics import ChannelStatistics
from fedsim.data.samples import Samples, Splits

LOOKED_AT = 64
"""Samples of each split whose values are looked at, evenly spaced; of the labels all are."""


def fingerprint(splits: Splits, statistics: ChannelStatistics | None = None) -> str:
    """Equal for the same data; almost surely different for data whose labels, number or images are others.

    Args:
        splits: the data.
        statistics: what images are normalised by, if that is to be the same, too.

    >>> from fedsim.data import TensorSamples
    >>> def data(value):
    ...     samples = TensorSamples(torch.full((2, 1), value), torch.tensor([0, 1]))
    ...     return Splits(train=samples, test=samples, class_names=("a", "b"), input_shape=(1,))
    >>> fingerprint(data(1.0)) == fingerprint(data(1.0)), fingerprint(data(1.0)) == fingerprint(data(2.0))
    (True, False)
    """
    facts = (splits.class_names, splits.input_shape, *((statistics.mean, statistics.std) if statistics else ()))
    digest = hashlib.blake2b(repr(facts).encode(), digest_size=8)
    for samples in (splits.train, splits.test):
        digest.update(samples.labels.numpy().tobytes())
        for sample in _some(samples):
            digest.update(sample.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _some(samples: Samples) -> list[torch.Tensor]:
    if len(samples) == 0:
        return []
    return list(samples.pick(torch.linspace(0, len(samples) - 1, min(LOOKED_AT, len(samples))).long()))
