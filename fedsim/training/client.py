"""A client's local work: from the global parameters to one row."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from fedsim.data.inputs import Inputs
from fedsim.data.transfer import split_on, to_device
from fedsim.seeds import derive_generator, derive_seed, seeded
from fedsim.stop_request import StopRequest
from fedsim.training.freezing import set_training
from fedsim.training.local_steps import LocalSteps, StepRules
from fedsim.training.losses import ClassCounts
from fedsim.training.losses.cross_entropy import CrossEntropy
from fedsim.training.optimizers import MakeOptimizer
from fedsim.training.schedules import Schedule
from fedsim.training.schedules.constant import Constant
from fedsim.updates.model_rows import ModelRows

LabelsOf = Callable[[int, int], Tensor]
"""(client, round) -> labels of the client's samples."""


@dataclass(frozen=True, kw_only=True)
class LocalWork:
    """What every client does in a round.

    Attributes:
        epochs: passes over the client's samples, unless ``steps`` says how many optimiser steps.
        send: ``delta`` (w_global - w_client) or ``gradient`` (of one batch).
        wire_dtype: what every row is rounded to.
        compiled: train through ``torch.compile``.
    """

    epochs: int
    steps: int | None
    batch_size: int
    send: Literal["delta", "gradient"]
    make_optimizer: MakeOptimizer
    rules: StepRules = field(default_factory=lambda: StepRules(loss=CrossEntropy()))
    schedule: Schedule = field(default_factory=Constant)
    wire_dtype: torch.dtype = torch.float32
    compiled: bool = False


def batches(count: int, work: LocalWork, generator: torch.Generator) -> Iterator[Tensor]:
    """Positions of the samples of each batch, drawn again for every pass; batches of one sample are left out.

    Batch normalisation cannot be trained on a single sample, so the rule holds for all runs.
    """
    if count < 2:
        return
    taken, passes = 0, 0
    while work.steps is not None or passes < work.epochs:
        for batch in torch.randperm(count, generator=generator).split(work.batch_size):
            if taken == work.steps:
                return
            if len(batch) > 1:
                taken += 1
                yield batch
        passes += 1


@dataclass(frozen=True)
class ClientData:
    """What the clients train on.

    Attributes:
        inputs: of the training samples of all clients.
        client_indices: indices of each client's samples.
        labels_of: the labels that a client trains on in a round, in the order of its indices.
        num_classes: C, where not every class is among the samples.
    """

    inputs: Inputs
    client_indices: Sequence[Tensor]
    labels_of: LabelsOf
    num_classes: int = 0

    def class_counts(self) -> Tensor:
        """Samples of each class [C], of all clients together."""
        return torch.bincount(self.inputs.labels, minlength=self.num_classes)


class Trainer:
    """Does the local work of any client, one after another, on this rank's model.

    Args:
        rows: the model and its layout.
        data: of all clients.
        work: what every client does in a round.
        seed: of the run.
        stop: whether this rank has been asked to stop.
    """

    def __init__(
        self, rows: ModelRows, data: ClientData, work: LocalWork, seed: int, stop: StopRequest | None = None
    ) -> None:
        self._rows, self._data, self._work, self._seed = rows, data, work, seed
        self._stop = stop or StopRequest()
        self._class_counts = data.class_counts()
        self._forward: nn.Module = torch.compile(rows.model) if work.compiled else rows.model  # type: ignore[assignment]

    def update(self, client: int, round_index: int, state: Tensor, out: Tensor) -> float:
        """Write the update of ``client`` for ``round`` into ``out``.

        Args:
            state: global parameters and buffers [D + D_b].
            out: row [D + D_b] to write; zero if the client has no batch.

        Returns:
            The client's mean training loss, NaN without a batch.
        """
        parameters = self._rows.layout.size
        self._rows.load(state[:parameters], state[parameters:])
        with seeded(derive_seed(self._seed, "local work", round_index, client), self._data.inputs.device):
            losses = self._train(client, round_index)
        if not losses:
            out.zero_()
            return float("nan")
        self._rows.write_delta(state[:parameters], state[parameters:], out[:parameters], out[parameters:])
        if self._work.send == "gradient":
            self._rows.write_gradient(out[:parameters])
        out.copy_(out.to(self._work.wire_dtype))
        return float(torch.stack(losses).double().mean())

    def _train(self, client: int, round_index: int) -> list[Tensor]:
        """Do the local steps; the losses of the batches."""
        labels = self._data.labels_of(client, round_index)
        set_training(self._rows.model)
        steps = self._local_steps(round_index, labels)
        losses = []
        for inputs, of_batch in self._batches(client, round_index, labels):
            if self._stop.received:  # the round will be given up
                break
            losses.append(steps.backward(inputs, of_batch))
            if self._work.send == "delta":
                steps.step()
        return losses

    def _batches(self, client: int, round_index: int, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and labels of the client's batches, on the device."""
        order = derive_generator(self._seed, "batches", round_index, client)
        augment = derive_generator(self._seed, "augment", round_index, client)
        indices, inputs = self._data.client_indices[client], self._data.inputs
        positions = list(batches(len(indices), self._work, order))
        labels_on_device = split_on(inputs.device, [labels[batch] for batch in positions])
        yield from zip(inputs.stream([indices[batch] for batch in positions], augment), labels_on_device, strict=True)

    def _local_steps(self, round_index: int, labels: Tensor) -> LocalSteps:
        """For the client whose samples have these labels."""
        trained = [p for p in self._rows.model.parameters() if p.requires_grad]
        optimizer, factor = self._work.make_optimizer(trained), self._work.schedule.factor(round_index)
        for group in optimizer.param_groups if factor != 1 else ():
            group["lr"] *= factor
        counts = ClassCounts(torch.bincount(labels, minlength=len(self._class_counts)), self._class_counts)
        weights = self._work.rules.loss.class_weights(counts)
        weights = None if weights is None else to_device(weights, self._data.inputs.device)
        return LocalSteps(self._work.rules, self._forward, trained, optimizer, weights)
