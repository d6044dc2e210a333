"""Images that differ in size, made squares of one size once, instead of in every batch."""

import hashlib
from dataclasses import replace
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from fedsim.data.images.image_files import in_threads
from fedsim.data.images.pixels import Interpolation, resized
from fedsim.data.samples import Samples, Splits, TensorSamples
from fedsim.data.storage.cache import cached_arrays, reserve_array
from fedsim.data.storage.cache_room import require_room


def resized_splits(splits: Splits, side: int, interpolation: Interpolation) -> Splits:
    """The data set with all images as squares of ``side`` pixels, cached where the images are.

    Only where they differ in size and none becomes larger, so that no more memory is needed than before; other data
    sets stay as they are.
    """
    channels, *sides = splits.input_shape
    if splits.one_size or side > min(sides):
        return splits
    shape = (channels, side, side)
    train, test = (_resized(samples, shape, interpolation) for samples in (splits.train, splits.test))
    return replace(splits, train=train, test=test, input_shape=shape, one_size=True)


def _resized(samples: Samples, shape: tuple[int, int, int], interpolation: Interpolation) -> Samples:
    def of_index(index: int) -> Tensor:
        return resized(samples.pick(torch.tensor([index]))[0][None], shape[1], interpolation)[0]

    def make(folder: Path) -> None:
        require_room(
            len(samples) * prod(shape), folder.parent, f"{len(samples)} images of {shape[1]} x {shape[2]} pixels"
        )
        pixels = reserve_array(folder / "pixels.npy", (len(samples), *shape))
        for index, image in enumerate(in_threads(of_index, range(len(samples)), "scaling images")):
            pixels[index] = image.numpy()

    stored_as: str = getattr(samples, "cached_as", "")
    if not stored_as:
        return TensorSamples(torch.stack([of_index(i) for i in range(len(samples))]), samples.labels, samples.columns)
    digest = hashlib.blake2b(f"{stored_as} {shape} {interpolation}".encode(), digest_size=8).hexdigest()
    name = f"{stored_as.split('-')[0]}-resized-{digest}"
    pixels = torch.from_numpy(cached_arrays(name, ["pixels"], make)["pixels"])
    return TensorSamples(pixels, samples.labels, samples.columns, name)
