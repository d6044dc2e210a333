"""Batches of several clients at once, drawn as each client alone would draw them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedsim.data.labels import count_classes
from fedsim.data.transfer import split_on
from fedsim.seeds import derive_generator
from fedsim.training.client import ClientData, LocalWork, batches
from fedsim.training.losses import ClassCounts, label_weights


@dataclass(frozen=True)
class GroupBatch:
    """A batch of each of A clients, padded to the length B of the longest; on the device.

    Attributes:
        inputs: [A, B, ...].
        labels: [A, B]; [A, B, T] of the positions of sequences.
        weights: shares of the labels in their client's loss, in their shape, which add up to 1; a padded sample has
            none.
    """

    inputs: Tensor
    labels: Tensor
    weights: Tensor


class GroupBatches:
    """The batches of clients in one round.

    Args:
        clients: those with the most batches first.
        data: of all clients.
        class_counts: samples of each class [C], of all clients together.
        work: what every client does in a round.
        seed: of the run.
    """

    def __init__(
        self,
        clients: Sequence[int],
        round_index: int,
        data: ClientData,
        class_counts: Tensor,
        work: LocalWork,
        seed: int,
    ) -> None:
        self._inputs = data.inputs
        self._indices = [data.client_indices[client] for client in clients]
        self._labels = [data.labels_of(client, round_index) for client in clients]
        self._weights = [self._class_weights(labels, class_counts, work) for labels in self._labels]
        self._augment = [derive_generator(seed, "augment", round_index, client) for client in clients]
        orders = [derive_generator(seed, "batches", round_index, client) for client in clients]
        self._positions = [
            list(batches(len(indices), work, order)) for indices, order in zip(self._indices, orders, strict=True)
        ]

    def __iter__(self) -> Iterator[GroupBatch]:
        """One batch of every client that has one left, step by step."""
        steps = [
            [positions[step] for positions in self._positions if step < len(positions)]
            for step in range(len(self._positions[0]))
        ]
        device, of_steps = self._inputs.device, [self._labels_of(step) for step in steps]
        labels = split_on(device, [of_step.flatten() for of_step in of_steps])
        weights = split_on(device, [self._weights_of(step).flatten() for step in steps])
        inputs = self._drawn(steps) if self._inputs.draws else self._undrawn(steps)
        for of_step, shown, classes, shares in zip(of_steps, inputs, labels, weights, strict=True):
            yield GroupBatch(shown, classes.view(of_step.shape), shares.view(of_step.shape))

    def _labels_of(self, step: Sequence[Tensor]) -> Tensor:
        return stacked([labels[batch] for labels, batch in zip(self._labels, step, strict=False)])

    def _weights_of(self, step: Sequence[Tensor]) -> Tensor:
        longest, rows = max(map(len, step)), []
        for labels, class_weights, batch in zip(self._labels, self._weights, step, strict=False):
            weights = label_weights(labels[batch], class_weights)
            weights = weights / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
            rows.append(torch.cat([weights, weights.new_zeros(longest - len(batch), *weights.shape[1:])]))
        return torch.stack(rows)

    def _undrawn(self, steps: Sequence[Sequence[Tensor]]) -> Iterator[Tensor]:
        """Inputs that do not depend on draws, so that those of all clients are made in one pass."""
        of_steps = [
            stacked([indices[batch] for indices, batch in zip(self._indices, step, strict=False)]) for step in steps
        ]
        shown = self._inputs.stream([indices.flatten() for indices in of_steps])
        for together, indices in zip(shown, of_steps, strict=True):
            yield together.unflatten(0, indices.shape)

    def _drawn(self, steps: Sequence[Sequence[Tensor]]) -> Iterator[Tensor]:
        """Inputs that depend on draws, which every client makes for its own."""
        streams = [
            self._inputs.stream([indices[batch] for batch in positions], generator)
            for indices, positions, generator in zip(self._indices, self._positions, self._augment, strict=True)
        ]
        for step in steps:
            yield stacked([next(stream) for stream in streams[: len(step)]])

    @staticmethod
    def _class_weights(labels: Tensor, class_counts: Tensor, work: LocalWork) -> Tensor:
        counts = ClassCounts(count_classes(labels, len(class_counts)), class_counts)
        weights = work.rules.loss.class_weights(counts)
        return torch.ones(len(class_counts)) if weights is None else weights


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """Parts [n, ...] as one tensor [A, B, ...]; shorter ones have their first sample again and again.

    >>> stacked([torch.tensor([7, 8, 9]), torch.tensor([4, 5])]).tolist()
    [[7, 8, 9], [4, 5, 4]]
    """
    longest = max(map(len, parts))
    return torch.stack(
        [torch.cat([part, part[:1].expand(longest - len(part), *part.shape[1:])]) for part in parts]
        if any(len(part) < longest for part in parts)
        else list(parts)
    )
