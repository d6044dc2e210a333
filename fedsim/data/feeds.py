"""Where samples lie while a run goes on, and how batches of them come to the device."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Literal, Protocol

import torch
from torch import Tensor

from fedsim.data.samples import Samples, TensorSamples
from fedsim.data.transfer import one_ahead, split_on

Batch = Tensor | list[Tensor]
"""Samples as :meth:`Samples.pick` gives them: one tensor, or a list where images differ in size."""

Placement = Literal["device", "host"]
"""On the device where models compute, or in the memory of the host."""

AT_ONCE = 256
"""Samples that are copied to the device together."""


class Feed(Protocol):
    """Gives batches of stored samples on the device."""

    def stream(self, order: Sequence[Tensor]) -> Iterator[Batch]:
        """The samples of each of the batches, of which ``order`` holds the indices [n], on the CPU."""
        ...


def open_feed(samples: Samples, device: torch.device, placement: Placement) -> Feed:
    """Batches of ``samples`` on the device; whether they lie there or on the host makes no difference to them."""
    if device.type == "cpu":
        return DirectFeed(samples, device)
    if placement == "host" and device.type == "cuda":
        return HostFeed(samples, device)
    return DirectFeed(copied_to(samples, device), device)


class DirectFeed:
    """Of samples that lie where they are needed."""

    def __init__(self, samples: Samples, device: torch.device) -> None:
        self._samples, self._device = samples, device

    def stream(self, order: Sequence[Tensor]) -> Iterator[Batch]:
        for indices in split_on(self._device, order):
            yield self._samples.pick(indices)


class HostFeed:
    """Of samples in the host's memory: each batch is copied while the GPU computes on the one before."""

    def __init__(self, samples: Samples, device: torch.device) -> None:
        self._samples, self._device = samples, device
        self._copies = torch.cuda.Stream(device)

    def stream(self, order: Sequence[Tensor]) -> Iterator[Batch]:
        for sent, shapes, copied in one_ahead(self._send(indices) for indices in order):
            computing = torch.cuda.current_stream(self._device)
            computing.wait_event(copied)
            sent.record_stream(computing)  # its memory may be used again only after what is queued there
            yield sent if shapes is None else as_images(sent, shapes)

    def _send(self, indices: Tensor) -> tuple[Tensor, list[torch.Size] | None, torch.cuda.Event]:
        picked = self._samples.pick(indices)
        many_sizes = isinstance(picked, list)
        shapes = [image.shape for image in picked] if many_sizes else None
        flat = torch.cat([image.flatten() for image in picked]) if isinstance(picked, list) else picked
        with torch.cuda.stream(self._copies):
            sent = flat.pin_memory().to(self._device, non_blocking=True)
            return sent, shapes, self._copies.record_event()


def as_images(flat: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """Images of these shapes, one after another in ``flat``.

    >>> [tuple(image.shape) for image in as_images(torch.zeros(10), [torch.Size([1, 2, 2]), torch.Size([1, 3, 2])])]
    [(1, 2, 2), (1, 3, 2)]
    """
    pieces = flat.split([prod(shape) for shape in shapes])
    return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]


def size_in_bytes(samples: Samples) -> int:
    """Memory of samples of one size."""
    return len(samples) * samples.pick(torch.tensor([0]))[0].nbytes


def copied_to(samples: Samples, device: torch.device) -> TensorSamples:
    """Samples of one size, on the device."""
    first = samples.pick(torch.tensor([0]))[0]
    inputs = torch.empty(len(samples), *first.shape, dtype=first.dtype, device=device)
    for indices in torch.arange(len(samples)).split(AT_ONCE):
        picked = samples.pick(indices)
        together = picked if isinstance(picked, Tensor) else torch.stack(picked)
        inputs[int(indices[0]) : int(indices[0]) + len(indices)] = together.to(device)
    return TensorSamples(inputs, samples.labels)
