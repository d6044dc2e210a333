"""A client's local work: from the global parameters to one row."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from fedsim.data.inputs import Inputs
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
    """

    epochs: int
    steps: int | None
    batch_size: int
    send: Literal["delta", "gradient"]
    make_optimizer: MakeOptimizer
    rules: StepRules = field(default_factory=lambda: StepRules(loss=CrossEntropy()))
    schedule: Schedule = field(default_factory=Constant)
    wire_dtype: torch.dtype = torch.float32


def batches(count: int, work: LocalWork, generator: torch.Generator) -> Iterator[Tensor]:
    """Positions of the samples of each batch, drawn anew for every pass; batches of one sample are left out.

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


class Trainer:
    """Does the local work of any client, one after another, on this rank's model.

    Args:
        rows: the model and its layout.
        inputs: of the training samples of all clients.
        shares: indices of each client's samples.
        labels_of: the labels that a client trains on in a round, in the order of its share.
        compiled: train through ``torch.compile``.
        num_classes: C, where not every class is among the samples.
        stop: whether this rank has been asked to stop.
    """

    def __init__(
        self,
        rows: ModelRows,
        inputs: Inputs,
        shares: Sequence[Tensor],
        work: LocalWork,
        seed: int,
        device: torch.device,
        labels_of: LabelsOf,
        *,
        compiled: bool = False,
        num_classes: int | None = None,
        stop: StopRequest | None = None,
    ) -> None:
        self._rows, self._inputs, self._shares, self._work = rows, inputs, shares, work
        self._seed, self._device, self._labels_of = seed, device, labels_of
        self._stop = stop or StopRequest()
        self._everyone = torch.bincount(inputs.labels, minlength=num_classes or 0)
        self._forward: nn.Module = torch.compile(rows.model) if compiled else rows.model  # type: ignore[assignment]

    def update(self, client: int, round: int, state: Tensor, out: Tensor) -> float:
        """Write the update of ``client`` for ``round`` into ``out``.

        Args:
            state: global parameters and buffers [D + D_b].
            out: row [D + D_b] to write; zero if the client has no batch.

        Returns:
            The client's mean training loss, NaN without a batch.
        """
        parameters = self._rows.layout.size
        self._rows.load(state[:parameters], state[parameters:])
        with seeded(derive_seed(self._seed, "local work", round, client), self._device):
            losses = self._train(client, round)
        if not losses:
            out.zero_()
            return float("nan")
        self._rows.write_delta(state[:parameters], state[parameters:], out[:parameters], out[parameters:])
        if self._work.send == "gradient":
            self._rows.write_gradient(out[:parameters])
        out.copy_(out.to(self._work.wire_dtype))
        return float(torch.stack(losses).double().mean())

    def _train(self, client: int, round: int) -> list[Tensor]:
        """Do the local steps; the losses of the batches."""
        order = derive_generator(self._seed, "batches", round, client)
        augment = derive_generator(self._seed, "augment", round, client)
        share = self._shares[client]
        labels = self._labels_of(client, round)
        set_training(self._rows.model)
        steps = self._local_steps(round, labels)
        losses = []
        for batch in batches(len(share), self._work, order):
            if self._stop.received:  # the round will be given up
                break
            losses.append(steps.backward(self._inputs.batch(share[batch], augment), labels[batch]))
            if self._work.send == "delta":
                steps.step()
        return losses

    def _local_steps(self, round: int, labels: Tensor) -> LocalSteps:
        """For the client whose samples have these labels."""
        trained = [p for p in self._rows.model.parameters() if p.requires_grad]
        optimizer, factor = self._work.make_optimizer(trained), self._work.schedule.factor(round)
        for group in optimizer.param_groups if factor != 1 else ():
            group["lr"] *= factor
        counts = ClassCounts(torch.bincount(labels, minlength=len(self._everyone)), self._everyone)
        weights = self._work.rules.loss.class_weights(counts)
        return LocalSteps(self._work.rules, self._forward, trained, optimizer, weights)
