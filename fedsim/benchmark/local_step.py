"""Local steps of a config's model, against the same steps written by hand; no data needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fedsim.benchmark.measure import Duration, Reading, Work, duration, measure
from fedsim.build.components import Components
from fedsim.build.parts import local_work, place_module
from fedsim.build.pinned_rows import pin_rows
from fedsim.comm.rows import SharedRows
from fedsim.data import TensorSamples
from fedsim.data.inputs import Inputs
from fedsim.training.client import ClientData, Trainer, forward_of
from fedsim.training.local_steps import LocalSteps
from fedsim.training.precision import matmul_precision
from fedsim.updates.model_rows import ModelRows

CLASSES = 10

WARM_UP = 3
"""Steps before the first that counts: compiled, recorded as a CUDA graph, replayed."""

RowPlace = Literal["device", "cpu", "shared"]
"""Where the row goes: as under NCCL; into memory of this process; into memory that ranks share, pinned on a GPU."""

ROW_SENT: dict[RowPlace, str] = {"device": "", "cpu": " sent to the host", "shared": " sent to shared memory"}
"""The same in a title."""


def without_data(values: Mapping[str, Any], side: int | None) -> dict[str, Any]:
    """The config with random images of the size that its model sees, and without pre-trained weights."""
    data, model = values.get("data", {}), values.get("model", {})
    side = side or data.get("resolution") or data.get("crop") or data.get("resize") or 28
    channels = 1 if data.get("name", "mnist5k") == "mnist5k" else 3
    synthetic = {"name": "synthetic", "shape": [channels, side, side], "num_classes": CLASSES}
    scratch = {key: value for key, value in model.items() if key not in ("pretrained", "weights")}
    return {**values, "data": synthetic, "model": scratch}


def _shared_row(columns: int, device: torch.device) -> SharedRows:
    transport = SharedRows(torch.empty(1, columns).share_memory_(), 0, lambda: None)
    pin_rows(transport, device)
    return transport


class StepBenchmark:
    """A client that takes some steps on random images, one after another, without waiting in between.

    Args:
        steps: of the client.
        row: where its row goes.
    """

    def __init__(
        self, components: Components, device: torch.device, steps: int = 1, row: RowPlace = "device"
    ) -> None:
        self._components, self._device, self._steps = components, device, steps
        clients, generator = components.config.clients, torch.Generator().manual_seed(0)
        self._batch = torch.arange(clients.batch_size)
        shape = tuple(components.source.settings.shape)
        images = torch.rand(clients.batch_size, *shape, generator=generator)
        labels = self._batch % CLASSES
        self._ready = images.to(device), labels.to(device)
        self._plain = components.model.build(shape, CLASSES).to(device)
        self._rows = ModelRows(place_module(components.model.build(shape, CLASSES), components, device))
        self._state = torch.cat(self._rows.read())
        self._transport = _shared_row(len(self._state), device) if row == "shared" else None
        self._out = torch.empty_like(self._state, device="cpu" if row == "cpu" else device)
        if self._transport is not None:
            self._out = self._transport.row(0)
        self._work = replace(local_work(components), epochs=1, steps=steps, send="delta")
        self._forward = forward_of(self._rows.model, self._work)
        self._inputs = Inputs(TensorSamples(images, labels), device=device, placement="device")
        data = ClientData(self._inputs, [self._batch], lambda client, round_index: labels, CLASSES)
        self._trainer = Trainer(self._rows, data, self._work, 0)

    @property
    def parameters(self) -> int:
        """D."""
        return self._rows.layout.size

    def time(self, repeats: int) -> Reading:
        """Seconds of a step, with its part in the client's beginning and end, against a plain one."""

        def update() -> None:
            self._trainer.update(0, 0, self._state, self._out)

        return measure("local step", update, self._plain_loop, repeats, self._device).scaled(1 / self._steps)

    def _plain_loop(self) -> None:
        """As one would write it by hand in float32, with the images where they are needed."""
        self._plain.train()
        optimizer = self._components.client_optimizer(list(self._plain.parameters()))
        images, labels = self._ready
        for _ in range(self._steps):
            nn.functional.cross_entropy(self._plain(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad()

    def time_parts(self, whole: Reading) -> list[Reading]:
        """Readings of the parts of a step, each waited for, so that together they may take longer than the whole.

        The row is read from the model and sent once for all steps of the client.
        """
        trained = [p for p in self._rows.model.parameters() if p.requires_grad]
        steps = LocalSteps(self._work.rules, self._forward, trained, self._work.make_optimizer(trained), None)
        batches: list[Tensor] = []
        parts: dict[str, Work] = {
            "data": lambda: batches.append(self._inputs.batch(self._batch)),
            "forward and backward": lambda: steps.backward(batches.pop(), self._ready[1]),
            "optimiser": steps.step,
        }
        times: dict[str, list[Duration]] = {name: [] for name in parts}
        with matmul_precision(self._work.matmul, self._device):
            for count in (WARM_UP, *[self._steps] * len(whole.seconds)):
                each: dict[str, list[Duration]] = {name: [] for name in parts}
                for _, (name, part) in product(range(count), parts.items()):
                    each[name].append(duration(part, self._device))
                for name, spent in each.items():
                    times[name].append(Duration(*(sum(values) / count for values in zip(*spent, strict=True))))
        times["row"] = [duration(self._write_row, self._device) for _ in range(len(whole.seconds) + 1)]
        plain = [Duration(*pair) for pair in zip(whole.yardstick, whole.yardstick_cpu, strict=True)]
        return [Reading.of(f"  {name}", values[1:], plain) for name, values in times.items()]

    def _write_row(self) -> None:
        self._trainer.write_row(self._state, self._out)
