"""A client's local work: from the global parameters to one row."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from fedsim.data.inputs import Inputs
from fedsim.data.labels import count_classes
from fedsim.data.transfer import split_on, to_device
from fedsim.seeds import derive_generator, derive_seed, seeded
from fedsim.stop_request import StopRequest
from fedsim.training.compiled import CompiledForward, CompileMode
from fedsim.training.freezing import set_training
from fedsim.training.local_steps import LocalSteps, StepRules, piece_sizes
from fedsim.training.losses import ClassCounts
from fedsim.training.losses.cross_entropy import CrossEntropy
from fedsim.training.optimizers import MakeOptimizer
from fedsim.training.precision import Matmul, matmul_precision
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
        compiled: the mode of ``torch.compile`` through which whole batches are computed; None: as the model is.
        matmul: what float32 products are computed in on a GPU.
    """

    epochs: int
    steps: int | None
    batch_size: int
    send: Literal["delta", "gradient"]
    make_optimizer: MakeOptimizer
    rules: StepRules = field(default_factory=lambda: StepRules(loss=CrossEntropy()))
    schedule: Schedule = field(default_factory=Constant)
    wire_dtype: torch.dtype = torch.float32
    compiled: CompileMode | None = None
    matmul: Matmul = "highest"

    def optimizer(self, parameters: Iterable[Tensor], round_index: int) -> torch.optim.Optimizer:
        """A new optimiser with the learning rate of the round."""
        optimizer, factor = self.make_optimizer(parameters), self.schedule.factor(round_index)
        for group in optimizer.param_groups if factor != 1 else ():
            group["lr"] *= factor
        return optimizer


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


def count_batches(count: int, work: LocalWork) -> int:
    """How many batches :func:`batches` gives a client with ``count`` samples."""
    if count < 2:
        return 0
    in_a_pass = count // work.batch_size + (count % work.batch_size > 1)
    return work.epochs * in_a_pass if work.steps is None else work.steps


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
        """Samples (positions of sequences) of each class [C], of all clients together."""
        return count_classes(self.inputs.labels, self.num_classes)


def forward_of(model: nn.Module, work: LocalWork) -> Callable[[Tensor], Tensor]:
    """What computes the batches: the model, or what it is compiled to."""
    return model if work.compiled is None else CompiledForward(model, compiled_sizes(work), work.compiled)


def compiled_sizes(work: LocalWork) -> list[int]:
    """Samples of a whole batch, or of its pieces: what is compiled, if anything is."""
    return piece_sizes(work.batch_size, work.rules.micro_batches)


class ClientTrainer(Protocol):
    """Does the local work of clients on this rank."""

    def update_all(
        self, clients: Sequence[int], round_index: int, state: Tensor, outs: Sequence[Tensor]
    ) -> list[float]:
        """Write the update of each client into its row [D + D_b] of ``outs``; their mean training losses."""


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
        self._forward = forward_of(rows.model, work)

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
        draws = seeded(derive_seed(self._seed, "local work", round_index, client), self._data.inputs.device)
        with draws, matmul_precision(self._work.matmul, state.device):
            losses = self._train(client, round_index)
        if not losses:
            out.zero_()
            return float("nan")
        self.write_row(state, out)
        return float(torch.stack(losses).double().mean())

    def write_row(self, state: Tensor, out: Tensor) -> None:
        """Write what has become of the model since ``state`` into ``out`` [D + D_b].

        Where rows travel over the CPU and the model is on a GPU, the row is made there and copied once.
        """
        parameters = self._rows.layout.size
        row = out if out.device == state.device else torch.empty_like(state)
        self._rows.write_delta(state[:parameters], state[parameters:], row[:parameters], row[parameters:])
        if self._work.send == "gradient":
            self._rows.write_gradient(row[:parameters])
        out.copy_(row.to(self._work.wire_dtype))

    def update_all(
        self, clients: Sequence[int], round_index: int, state: Tensor, outs: Sequence[Tensor]
    ) -> list[float]:
        """:meth:`update` of one client after another."""
        return [self.update(client, round_index, state, out) for client, out in zip(clients, outs, strict=True)]

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
        optimizer = self._work.optimizer(trained, round_index)
        counts = ClassCounts(count_classes(labels, len(self._class_counts)), self._class_counts)
        weights = self._work.rules.loss.class_weights(counts)
        weights = None if weights is None else to_device(weights, self._data.inputs.device)
        return LocalSteps(self._work.rules, self._forward, trained, optimizer, weights)
