"""Clients that are trained at once, against the same clients one after another in the same process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch

from fedsim.benchmark.local_step import CLASSES
from fedsim.benchmark.measure import Reading, measure
from fedsim.build.components import Components
from fedsim.build.parts import local_work, place_module
from fedsim.data import TensorSamples
from fedsim.data.inputs import Inputs
from fedsim.training.client import ClientData, Trainer
from fedsim.training.vectorized import VectorizedTrainer
from fedsim.training.vectorized_checks import require_vectorizable
from fedsim.updates.model_rows import ModelRows

STEPS = 5
"""Local steps of a client."""

STEPS_SHOWN = 1000
"""Steps of one client for which times are given: milliseconds are microseconds of a step then."""


def time_vectorized(
    components: Components, sizes: Sequence[int], device: torch.device, repeats: int
) -> list[Reading]:
    """A reading for each number of clients that are trained at once; random images, no data needed."""
    shape = tuple(components.source.settings.shape)
    model = place_module(components.model.build(shape, CLASSES), components, device)
    require_vectorizable(model, shape)
    rows, most = ModelRows(model), max(sizes)
    data = _random_data(components, most, shape, device)
    work = replace(local_work(components), steps=STEPS)
    at_once, in_turn = VectorizedTrainer(rows, data, work, 0), Trainer(rows, data, work, 0)
    state = torch.cat(rows.read())
    matrix = list(torch.empty(most, len(state), device=device))
    readings = []
    for size in sizes:
        group, outs = range(size), matrix[:size]
        reading = measure(
            f"{components.model.name}, {size} at once",
            partial(at_once.update_all, group, 0, state, outs),
            partial(in_turn.update_all, group, 0, state, outs),
            repeats,
            device,
        )
        readings.append(reading.scaled(STEPS_SHOWN / (STEPS * size)))
    return readings


def _random_data(components: Components, clients: int, shape: tuple[int, ...], device: torch.device) -> ClientData:
    """Other images for each client, as many as it has in a round."""
    share = STEPS * components.config.clients.batch_size
    images = torch.rand(clients * share, *shape, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(clients * share) % CLASSES
    indices = torch.arange(clients * share).split(share)
    inputs = Inputs(TensorSamples(images, labels), device=device, placement="device")
    return ClientData(inputs, indices, lambda client, round_index: labels[indices[client]], CLASSES)
