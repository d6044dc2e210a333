"""One local step of a config's model, against the same step written by hand; no data needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fedsim.benchmark.measure import Reading, measure
from fedsim.build.components import Components
from fedsim.build.parts import place_module, step_rules
from fedsim.data import TensorSamples
from fedsim.data.inputs import Inputs
from fedsim.training.client import ClientData, LocalWork, Trainer
from fedsim.updates.model_rows import ModelRows

CLASSES = 10


def without_data(values: Mapping[str, Any], side: int | None) -> dict[str, Any]:
    """The config with random images of the size that its model sees, and without pre-trained weights."""
    data, model = values.get("data", {}), values.get("model", {})
    side = side or data.get("resolution") or data.get("crop") or data.get("resize") or 28
    channels = 1 if data.get("name", "mnist5k") == "mnist5k" else 3
    synthetic = {"name": "synthetic", "shape": [channels, side, side], "num_classes": CLASSES}
    scratch = {key: value for key, value in model.items() if key not in ("pretrained", "weights")}
    return {**values, "data": synthetic, "model": scratch}


def time_local_step(components: Components, device: torch.device, repeats: int) -> tuple[list[Reading], int]:
    """Readings of a client's step with one batch, and the number D of parameters that it sends."""
    clients, generator = components.config.clients, torch.Generator().manual_seed(0)
    shape = tuple(components.source.settings.shape)
    images = torch.rand(clients.batch_size, *shape, generator=generator)
    labels = torch.arange(clients.batch_size) % CLASSES
    model = place_module(components.model.build(shape, CLASSES), components, device)
    rows = ModelRows(model)
    state = torch.cat(rows.read())
    out = torch.empty_like(state)
    work = LocalWork(
        epochs=1,
        steps=1,
        batch_size=clients.batch_size,
        send="delta",
        make_optimizer=components.client_optimizer,
        rules=step_rules(components),
    )
    inputs = Inputs(TensorSamples(images, labels), device=device)
    data = ClientData(inputs, [torch.arange(clients.batch_size)], lambda client, round_index: labels, CLASSES)
    trainer = Trainer(rows, data, work, 0)

    def by_hand() -> None:
        _plain_step(model, components, images.to(device), labels.to(device))

    reading = measure("local step", lambda: trainer.update(0, 0, state, out), by_hand, repeats, device)
    return [reading], rows.layout.size


def _plain_step(model: nn.Module, components: Components, images: Tensor, labels: Tensor) -> None:
    model.train()
    optimizer = components.client_optimizer(list(model.parameters()))
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()
    optimizer.zero_grad()
