"""The work that every contestant does. Only torch is imported here: a contestant pays for what it needs itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor, nn

TASK, DATA, RESULT = "task.json", "data.pt", "result.json"
"""Files in the folder of a contestant."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Federated averaging with a trimmed mean on MNIST-5k.

    Attributes:
        clients: each with as many samples, identically distributed.
        trimmed: clients at either end that the mean of a coordinate leaves out.
        steps: plain SGD steps of a client in a round, one pass over its whole batches.
    """

    rounds: int
    clients: int = 10
    trimmed: int = 2
    steps: int = 12
    batch_size: int = 32
    learning_rate: float = 0.1
    evaluation_batch: int = 250

    def save(self, folder: Path) -> None:
        (folder / TASK).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Task:
        return cls(**json.loads((folder / TASK).read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Data:
    """Normalised images [N, 1, 28, 28] and labels [N] of both sides, and the training samples of each client."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    client_indices: list[Tensor]

    def save(self, folder: Path) -> None:
        torch.save({"train": self.train, "test": self.test, "client_indices": self.client_indices}, folder / DATA)

    @classmethod
    def load(cls, folder: Path) -> Data:
        return cls(**torch.load(folder / DATA, weights_only=True))


@dataclass
class Watch:
    """Seconds of each part of a contestant's work in each round, and the accuracy after it."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    accuracies: list[float] = field(default_factory=list)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Time the block."""
        start = perf_counter()
        yield
        self.seconds.setdefault(part, []).append(perf_counter() - start)

    def save(self, folder: Path) -> None:
        result = {"accuracy": self.accuracies[-1], "seconds": self.seconds}
        (folder / RESULT).write_text(json.dumps(result), encoding="utf-8")


def small_cnn() -> nn.Module:
    """fedsim's model ``small_cnn`` for digits, as one writes it by hand."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def accuracy(model: nn.Module, images: Tensor, labels: Tensor, batch_size: int) -> float:
    """Share of images that are classified correctly."""
    model.eval()
    with torch.no_grad():
        batches = zip(images.split(batch_size), labels.split(batch_size), strict=True)
        return sum(int((model(inputs).argmax(1) == truth).sum()) for inputs, truth in batches) / len(labels)
