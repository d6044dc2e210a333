"""Evaluation, distributed over the ranks; the result does not depend on their number."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fedsim.comm import Communicator
from fedsim.data.inputs import Inputs
from fedsim.data.transfer import split_on
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
        self._inputs, self._comm = inputs, comm
        batches = torch.arange(len(inputs)).split(batch_size)
        self._num_batches, self._own = len(batches), batches[comm.rank :: comm.size]
        owners = torch.full((len(inputs),), -1) if owners is None else owners
        self._owned = torch.bincount(owners + 1)[1:]
        """Test samples of each client."""
        self._labels = split_on(inputs.device, [inputs.labels[batch] for batch in self._own])
        self._owners = split_on(inputs.device, [owners[batch] for batch in self._own])
        self._classes = torch.arange(num_classes, device=inputs.device)
        self._clients = torch.arange(len(self._owned), device=inputs.device)

    def evaluate(self, model: nn.Module) -> Evaluation:
        """The evaluation, the same on every rank; every rank takes part with the same parameters.

        Losses are summed up in float64, in each batch and then in the order of the batches; the rest are counts. They
        stay on the device until the last batch, so that nothing waits for one before.
        """
        classes, each = len(self._classes), -(-self._num_batches // self._comm.size)
        losses = torch.zeros(each, dtype=torch.float64, device=self._inputs.device)
        counts = torch.zeros(classes**2 + len(self._owned), dtype=torch.float64, device=self._inputs.device)
        model.eval()
        with torch.no_grad():
            batches = zip(self._inputs.stream(self._own), self._labels, self._owners, strict=True)
            for position, (inputs, labels, owners) in enumerate(batches):
                logits = model(inputs).float()
                losses[position] = nn.functional.cross_entropy(logits.double(), labels, reduction="sum")
                counts += self._counts(logits.argmax(1), labels, owners)
        gathered = self._comm.all_gather(torch.cat([losses, counts]).cpu())
        loss = torch.zeros((), dtype=torch.float64)
        for of_batch in gathered[:, :each].T.flatten()[: self._num_batches]:
            loss += of_batch
        confusion, right = gathered[:, each:].sum(0).split([classes**2, len(self._owned)])
        by_client = {
            client: float(right[client]) / count for client, count in enumerate(self._owned.tolist()) if count
        }
        return Evaluation(float(loss) / len(self._inputs), confusion.view(classes, classes).long(), by_client)

    def _counts(self, predicted: Tensor, labels: Tensor, owners: Tensor) -> Tensor:
        """The flat confusion matrix of a batch, then the samples of each client that are classified correctly.

        Without ``bincount``, for which a GPU has to be waited for.
        """
        truth, guess = labels[:, None] == self._classes, predicted[:, None] == self._classes
        confusion = truth.T.float() @ guess.float()  # exact: sums of ones
        right = (owners[:, None] == self._clients) & (labels == predicted)[:, None]
        return torch.cat([confusion.flatten().double(), right.sum(0).double()])
