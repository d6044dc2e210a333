"""Evaluation, distributed over the ranks; the result does not depend on their number."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fedsim.comm import Communicator
from fedsim.data.inputs import Inputs
from fedsim.records.round_record import Quality

RECORDED_CLASSES = 100
"""Confusion matrices of more classes are not recorded: they would dwarf everything else."""


@dataclass(frozen=True)
class Evaluation:
    """Quality on the test samples.

    Attributes:
        loss: mean cross-entropy.
        confusion: counts [C, C], row = true class, column = prediction.
        client_accuracy: where test samples belong to clients, the accuracy on those of each, by client id.
    """

    loss: float
    confusion: Tensor
    client_accuracy: Mapping[int, float] = field(default_factory=dict)

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

    @property
    def macro_f1(self) -> float:
        """Mean over classes of the harmonic mean of precision and recall.

        Classes that occur neither in truth nor in predictions are left out, as scikit-learn does.

        >>> round(Evaluation(0.0, torch.tensor([[1, 1, 0], [0, 2, 0], [0, 0, 0]])).macro_f1, 3)
        0.733
        """
        counts = self.confusion.double()
        return float((2 * counts.diagonal() / (counts.sum(0) + counts.sum(1))).nanmean())

    def quality(self) -> Quality:
        """Everything above as it is recorded."""
        classes, by_client = len(self.confusion), list(self.client_accuracy.values())
        return Quality(
            accuracy=self.accuracy,
            balanced_accuracy=self.balanced_accuracy,
            macro_f1=self.macro_f1,
            worst_client_accuracy=min(by_client) if by_client else None,
            mean_client_accuracy=sum(by_client) / len(by_client) if by_client else None,
            loss=self.loss,
            per_class_recall=self.per_class_recall,
            confusion=self.confusion.tolist() if classes <= RECORDED_CLASSES else None,
        )


class Evaluator:
    """Evaluates a model on fixed batches; batch i belongs to rank i mod W.

    Args:
        inputs: of the test samples.
        owners: the client that each sample belongs to [N], -1 for nobody's; None if that means nothing.
    """

    def __init__(
        self, inputs: Inputs, num_classes: int, batch_size: int, comm: Communicator, owners: Tensor | None = None
    ) -> None:
        self._inputs, self._classes, self._comm = inputs, num_classes, comm
        self._batches = torch.arange(len(inputs)).split(batch_size)
        self._owners = torch.full((len(inputs),), -1) if owners is None else owners
        self._owned = torch.bincount(self._owners + 1)[1:]

    def evaluate(self, model: nn.Module) -> Evaluation:
        """The evaluation, the same on every rank; every rank takes part with the same parameters.

        Sums are kept per batch and added in the order of the batches, in float64.
        """
        own = range(self._comm.rank, len(self._batches), self._comm.size)
        each = -(-len(self._batches) // self._comm.size)
        width = 1 + self._classes**2 + len(self._owned)
        sums = torch.zeros(each, width, dtype=torch.float64)
        model.eval()
        with torch.no_grad():
            for position, index in enumerate(own):
                sums[position] = self._sums(model, self._batches[index])
        gathered = self._comm.all_gather(sums)
        in_order = gathered.transpose(0, 1).flatten(0, 1)[: len(self._batches)]
        total = torch.zeros(width, dtype=torch.float64)
        for batch in in_order:
            total += batch
        loss, confusion, right = total.split([1, self._classes**2, len(self._owned)])
        by_client = {
            client: float(right[client]) / count for client, count in enumerate(self._owned.tolist()) if count
        }
        return Evaluation(
            float(loss) / len(self._inputs), confusion.view(self._classes, self._classes).long(), by_client
        )

    def _sums(self, model: nn.Module, indices: Tensor) -> Tensor:
        """Sum of the losses, then the flat confusion matrix, then each client's correct ones, of one batch."""
        labels = self._inputs.labels[indices]
        logits = model(self._inputs.batch(indices)).float().cpu()
        loss = nn.functional.cross_entropy(logits.double(), labels, reduction="sum")
        predicted = logits.argmax(1)
        cells = torch.bincount(labels * self._classes + predicted, minlength=self._classes**2)
        owners = self._owners[indices][labels == predicted]
        right = torch.bincount(owners + 1, minlength=len(self._owned) + 1)[1:]
        return torch.cat([loss[None], cells.double(), right.double()])
