"""Evaluation, shared out over the ranks; the result does not depend on their number."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fedsim.comm import Communicator
from fedsim.data.base import Samples

RECORDED_CLASSES = 100
"""Confusion matrices of more classes are not recorded: they would dwarf everything else."""


@dataclass(frozen=True)
class Evaluation:
    """Quality on the test samples.

    Attributes:
        loss: mean cross-entropy.
        confusion: counts [C, C], row = true class, column = prediction.
    """

    loss: float
    confusion: Tensor

    @property
    def accuracy(self) -> float:
        """Share of samples that are classified correctly."""
        return int(self.confusion.diagonal().sum()) / int(self.confusion.sum())

    @property
    def per_class_recall(self) -> list[float]:
        """Share of each class that is found; NaN for a class without samples."""
        return (self.confusion.diagonal().double() / self.confusion.sum(1)).tolist()

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that have samples."""
        return float(torch.tensor(self.per_class_recall, dtype=torch.float64).nanmean())

    def record(self) -> dict[str, Any]:
        """Everything above by name, as plain numbers and lists."""
        classes = len(self.confusion)
        return {
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "loss": self.loss,
            "per_class_recall": self.per_class_recall,
            "confusion": self.confusion.tolist() if classes <= RECORDED_CLASSES else None,
        }


NOT_EVALUATED = dict.fromkeys(("accuracy", "balanced_accuracy", "loss", "per_class_recall", "confusion"))
"""The record of a round without evaluation."""


class Evaluator:
    """Evaluates a model on fixed batches; batch i belongs to rank i mod W."""

    def __init__(self, samples: Samples, num_classes: int, batch_size: int, comm: Communicator) -> None:
        self._samples, self._classes, self._comm = samples, num_classes, comm
        self._batches = torch.arange(len(samples)).split(batch_size)

    def evaluate(self, model: nn.Module) -> Evaluation:
        """The evaluation, the same on every rank; every rank takes part with the same parameters.

        Sums are kept per batch and added in the order of the batches, in float64.
        """
        own = range(self._comm.rank, len(self._batches), self._comm.size)
        each = -(-len(self._batches) // self._comm.size)
        sums = torch.zeros(each, 1 + self._classes**2, dtype=torch.float64)
        model.eval()
        with torch.no_grad():
            for position, index in enumerate(own):
                sums[position] = self._sums(model, self._batches[index])
        gathered = self._comm.all_gather(sums)
        in_order = gathered.transpose(0, 1).flatten(0, 1)[: len(self._batches)]
        total = torch.zeros(1 + self._classes**2, dtype=torch.float64)
        for batch in in_order:
            total += batch
        confusion = total[1:].view(self._classes, self._classes).long()
        return Evaluation(float(total[0]) / len(self._samples), confusion)

    def _sums(self, model: nn.Module, indices: Tensor) -> Tensor:
        """Sum of the losses, then the flat confusion matrix, of one batch."""
        labels = self._samples.labels[indices]
        logits = model(self._samples.batch(indices).to(self._comm.device)).float().cpu()
        loss = nn.functional.cross_entropy(logits.double(), labels, reduction="sum")
        cells = labels * self._classes + logits.argmax(1)
        return torch.cat([loss[None], torch.bincount(cells, minlength=self._classes**2).double()])
