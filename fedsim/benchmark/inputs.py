"""Batches as a config's model is shown them in training, against passes through it and back; no data needed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from fedsim.benchmark.measure import Reading, measure
from fedsim.build.components import Components
from fedsim.build.parts import place_module
from fedsim.data import Splits, TensorSamples
from fedsim.data.feeds import Placement
from fedsim.data.images.channel_statistics import ChannelStatistics
from fedsim.data.inputs import Inputs

CLASSES = 10
BATCHES = 4
"""Batches of random images that are there."""


def stored_shape(components: Components, side: int | None) -> tuple[int, int, int]:
    """Of the images as a run keeps them: ``side`` pixels square, else as the config scales or crops them, else 32."""
    data = components.config.data
    side = side or data.resize or data.crop or 32
    return (1 if data.name == "mnist5k" else 3, side, side)


def time_inputs(
    components: Components, shape: tuple[int, int, int], device: torch.device, repeats: int
) -> Iterator[Reading]:
    """Readings of whole batches from wherever samples may lie, then of each augmentation alone."""
    size, generator = components.config.clients.batch_size, torch.Generator().manual_seed(0)
    images = torch.randint(256, (BATCHES * size, *shape), generator=generator, dtype=torch.uint8)
    samples = TensorSamples(images, torch.arange(len(images)) % CLASSES)
    names = tuple(map(str, range(CLASSES)))
    splits = Splits(train=samples, test=samples, class_names=names, input_shape=shape)
    view = components.view(ChannelStatistics((0.5,) * shape[0], (0.25,) * shape[0], "of a benchmark"))
    model = place_module(components.model.build(view.shape(splits), CLASSES), components, device).train()
    order = torch.arange(len(images)).split(size)
    shown, labels = Inputs(samples, view, device).batch(order[0]), samples.labels[:size].to(device)

    def step() -> None:
        model.zero_grad()
        nn.functional.cross_entropy(model(shown), labels).backward()

    placements: list[Placement] = ["host", "device"] if device.type == "cuda" else ["host"]
    for placement in placements:
        inputs = Inputs(samples, view, device, placement)
        yield measure(f"a batch, {placement}", lambda i=inputs: i.batch(order[1], generator), step, repeats, device)  # type: ignore[misc]
    picked = images[:size].to(device)
    for augment in view.augmentations:
        yield measure(augment.name, lambda a=augment: a(picked, generator), step, repeats, device)  # type: ignore[misc]
