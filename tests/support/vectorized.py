"""Clients that are trained at once, and the same clients one after another."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fedsim.data import Samples, TensorSamples
from fedsim.data.feeds import Placement
from fedsim.data.inputs import Inputs, View
from fedsim.models import models
from fedsim.seeds import seeded
from fedsim.stop_request import StopRequest
from fedsim.training.client import ClientData, LabelsOf, LocalWork, Trainer
from fedsim.training.vectorized import VectorizedTrainer
from fedsim.updates.model_rows import ModelRows
from support.randomness import draws

CLASSES = 4
SIZES = [13, 4, 1, 23, 11, 0, 8]
"""Samples of each client: a pass in batches of 5 has 3, 1, no, 5, 2 (the last sample is left out), no and 2."""

SHARES = torch.arange(sum(SIZES)).split(SIZES)
CLIENTS = range(len(SIZES))
ROUND, SEED = 3, 5


def smooth(inputs: int = 6) -> nn.Sequential:
    """With a smooth activation: the kink of ReLU makes a large difference of a small one."""
    with seeded(1):
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, CLASSES))


def conv() -> nn.Module:
    with seeded(1):
        return nn.Sequential(
            nn.Conv2d(3, 5, 3, padding=1),
            nn.GroupNorm(1, 5),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.0),
            nn.Linear(20, CLASSES),
        )


def packaged(name: str) -> nn.Module:
    """A model of the package, for larger pictures."""
    with seeded(1):
        return models.build(name).build((1, 20, 20), CLASSES)


def vectors() -> TensorSamples:
    return TensorSamples(draws(20, sum(SIZES), 6), torch.arange(sum(SIZES)) % CLASSES)


def pictures() -> TensorSamples:
    images = draws(20, sum(SIZES), 3, 4, 4).mul(60).add(128).clamp(0, 255).to(torch.uint8)
    return TensorSamples(images, torch.arange(sum(SIZES)) % CLASSES)


def larger_pictures() -> TensorSamples:
    small = pictures()
    return TensorSamples(small.inputs[:, :1].repeat_interleave(5, 2).repeat_interleave(5, 3), small.labels)


class Clients:
    """Clients of a model, trained in both ways from the same parameters.

    Args:
        model: on the device where the clients train.
        labels_of: (client, round) -> labels; None: those of the samples.
    """

    def __init__(
        self,
        model: nn.Module,
        work: LocalWork,
        samples: Samples | None = None,
        labels_of: LabelsOf | None = None,
        view: View | None = None,
        stop: StopRequest | None = None,
        placement: Placement = "host",
    ) -> None:
        samples = samples or vectors()
        self.rows = ModelRows(model)
        self.state = torch.cat(self.rows.read())
        self.inputs = Inputs(samples, view, self.state.device, placement)
        own: LabelsOf = lambda client, round_index: samples.labels[SHARES[client]]  # noqa: E731
        data = ClientData(self.inputs, SHARES, labels_of or own, CLASSES)
        self.at_once_trainer = VectorizedTrainer(self.rows, data, work, SEED, stop)
        self.in_turn_trainer = Trainer(self.rows, data, work, SEED)

    def at_once(self, clients: Sequence[int] = CLIENTS) -> tuple[Tensor, list[float]]:
        """Rows [len(clients), D + D_b] and losses."""
        return self._by(self.at_once_trainer, clients)

    def in_turn(self, clients: Sequence[int] = CLIENTS) -> tuple[Tensor, list[float]]:
        return self._by(self.in_turn_trainer, clients)

    def _by(self, trainer: Any, clients: Sequence[int]) -> tuple[Tensor, list[float]]:
        rows = torch.full((len(clients), len(self.state)), torch.nan, device=self.state.device)
        losses = trainer.update_all(clients, ROUND, self.state, list(rows))
        return rows, losses


def largest_difference(rows: Tensor, others: Tensor) -> float:
    """Of a row and the other, in lengths of the other; rows of zeros must be equal."""
    assert torch.equal(rows.any(dim=1), others.any(dim=1))
    lengths = others.double().norm(dim=1)
    return float(((rows - others).double().norm(dim=1) / lengths.where(lengths > 0, 1.0)).max())
