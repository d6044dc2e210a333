"""Batches of several clients at once, drawn as each client alone would draw them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedsim.seeds import derive_generator
from fedsim.training.client import ClientData, LocalWork, batches
from fedsim.training.losses import ClassCounts


@dataclass(frozen=True)
class GroupBatch:
    """A batch of each of A clients, padded to the length B of the longest.

    Attributes:
        inputs: [A, B, ...].
        labels: [A, B].
        weights: shares of the samples in their client's loss [A, B], which add up to 1; a padded sample has none.
    """

    inputs: Tensor
    labels: Tensor
    weights: Tensor


class GroupBatches:
    """The batches of a group's clients in one round, step by step.

    Args:
        clients: of the group.
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
        self._data = data
        self._indices = [data.client_indices[client] for client in clients]
        self._labels = [data.labels_of(client, round_index) for client in clients]
        self._orders = [
            batches(len(indices), work, derive_generator(seed, "batches", round_index, client))
            for indices, client in zip(self._indices, clients, strict=True)
        ]
        self._augment = [derive_generator(seed, "augment", round_index, client) for client in clients]
        weights = [
            work.rules.loss.class_weights(ClassCounts(labels.bincount(minlength=len(class_counts)), class_counts))
            for labels in self._labels
        ]
        self._class_weights = [one if one is not None else torch.ones(len(class_counts)) for one in weights]

    def next(self, active: int) -> GroupBatch:
        """The next batch of the first ``active`` clients."""
        positions = [next(order) for order in self._orders[:active]]
        longest = max(map(len, positions))
        labels, weights = [], []
        for of_client, class_weights, batch in zip(self._labels, self._class_weights, positions, strict=False):
            mine = of_client[batch]
            of_samples = class_weights[mine]
            of_samples = of_samples / of_samples.sum().clamp(min=torch.finfo(of_samples.dtype).tiny)
            labels.append(padded(mine, longest))
            weights.append(torch.nn.functional.pad(of_samples, (0, longest - len(batch))))
        device = self._data.inputs.device
        return GroupBatch(
            self._inputs(positions, longest), torch.stack(labels).to(device), torch.stack(weights).to(device)
        )

    def _inputs(self, positions: Sequence[Tensor], length: int) -> Tensor:
        inputs = self._data.inputs
        picked = [indices[batch] for indices, batch in zip(self._indices, positions, strict=False)]
        if not inputs.draws:  # one pass over the samples of all clients
            together = inputs.batch(torch.cat([padded(one, length) for one in picked]))
            return together.unflatten(0, (len(picked), length))
        drawn = (inputs.batch(one, generator) for one, generator in zip(picked, self._augment, strict=False))
        return torch.stack([padded(one, length) for one in drawn])


def padded(batch: Tensor, length: int) -> Tensor:
    """The batch [n, ...] with its first sample again and again until there are ``length``.

    >>> padded(torch.tensor([7, 8]), 4).tolist()
    [7, 8, 7, 7]
    """
    missing = length - len(batch)
    return torch.cat([batch, batch[:1].expand(missing, *batch.shape[1:])]) if missing else batch
