"""Evaluation, distributed over the ranks; the result does not depend on their number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fedsim.comm import Communicator
from fedsim.data.inputs import Inputs
from fedsim.data.labels import IGNORED, count_labels
from fedsim.data.transfer import split_on
from fedsim.evaluation.metrics.base import Predictions
from fedsim.evaluation.run_metrics import Named, RunMetrics
from fedsim.records.round_record import VALIDATION, Quality

RECORDED_CLASSES = 100
"""Confusion matrices of more classes are not recorded: they would dwarf everything else."""


@dataclass(frozen=True)
class Evaluation:
    """Quality on the test samples; of sequences with a class for each position, all those positions count alike.

    Attributes:
        loss: mean cross-entropy.
        confusion: counts [C, C], row = true class, column = prediction.
        client_accuracy: where test samples belong to clients, the accuracy on those of each, by client id.
        metrics: values of the run's further metrics, on rank 0.
    """

    loss: float
    confusion: Tensor
    client_accuracy: Mapping[int, float] = field(default_factory=dict)
    metrics: Named = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Share of samples (positions of sequences) that are classified correctly."""
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

    def in_short(self) -> dict[str, float | None]:
        """Accuracy, loss and balanced accuracy, as they are recorded of validation samples."""
        return {name: getattr(self, name) for name in VALIDATION}


class Evaluator:
    """Evaluates a model on fixed batches; batch i belongs to rank i mod W.

    Args:
        inputs: of the test samples.
        owners: the client that each sample belongs to [N], -1 for nobody's; None if that means nothing.
        metrics: what else is measured.
        class_names: of the classes; left out, their numbers.
    """

    def __init__(
        self,
        inputs: Inputs,
        num_classes: int,
        batch_size: int,
        comm: Communicator,
        owners: Tensor | None = None,
        *,
        metrics: RunMetrics | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self._inputs, self._comm, self._metrics = inputs, comm, metrics or RunMetrics()
        self._class_names = class_names or tuple(map(str, range(num_classes)))
        batches = torch.arange(len(inputs)).split(batch_size)
        self._num_batches, self._own = len(batches), batches[comm.rank :: comm.size]
        self._batch_sizes = [len(batch) for batch in batches]
        owners = torch.full((len(inputs),), -1) if owners is None else owners
        counts = count_labels(inputs.labels)
        self._num_labels = int(counts.sum())
        self._owned = torch.bincount(owners + 1, weights=counts)[1:].long()
        """Test labels of each client."""
        self._owner_of = owners
        self._labels = split_on(inputs.device, [inputs.labels[batch] for batch in self._own])
        self._owners = split_on(inputs.device, [owners[batch] for batch in self._own])
        self._classes = torch.arange(num_classes, device=inputs.device)
        self._clients = torch.arange(len(self._owned), device=inputs.device)

    def evaluate(self, model: nn.Module, round_index: int = 0) -> Evaluation:
        """The evaluation, the same on every rank but for ``metrics``; every rank takes part with the same parameters.

        Losses are summed up in float64, in each batch and then in the order of the batches; the rest are counts. They
        stay on the device until the last batch, so that nothing waits for one before.
        """
        classes, each = len(self._classes), -(-self._num_batches // self._comm.size)
        losses = torch.zeros(each, dtype=torch.float64, device=self._inputs.device)
        counts = torch.zeros(classes**2 + len(self._owned), dtype=torch.float64, device=self._inputs.device)
        kept: list[Tensor] = []
        model.eval()
        with torch.no_grad():
            batches = zip(self._inputs.stream(self._own), self._labels, self._owners, strict=True)
            for position, (inputs, labels, owners) in enumerate(batches):
                logits = model(inputs).float()
                of_labels = logits.flatten(0, -2).double()
                losses[position] = nn.functional.cross_entropy(of_labels, labels.flatten(), reduction="sum")
                counts += self._counts(logits.argmax(-1), labels, owners)
                if self._metrics.use_predictions:
                    kept.append(logits)
        gathered = self._comm.all_gather(torch.cat([losses, counts]).cpu())
        loss = torch.zeros((), dtype=torch.float64)
        for of_batch in gathered[:, :each].T.flatten()[: self._num_batches]:
            loss += of_batch
        confusion, right = gathered[:, each:].sum(0).split([classes**2, len(self._owned)])
        by_client = {
            client: float(right[client]) / count for client, count in enumerate(self._owned.tolist()) if count
        }
        metrics = self._measure(kept, round_index) if self._metrics.use_predictions else {}
        confusion = confusion.view(classes, classes).long()
        return Evaluation(float(loss) / self._num_labels, confusion, by_client, metrics)

    def _measure(self, kept: Sequence[Tensor], round_index: int) -> Named:
        """The metrics of predictions, on rank 0; every rank takes part with the logits of its batches."""
        logits = self._in_order(kept).flatten(0, -2)  # of sequences [N, T, C], too
        if self._comm.rank != 0:
            return {}
        labels = self._inputs.labels
        owners = self._owner_of.repeat_interleave(labels[0].numel())
        has_class = (labels != IGNORED).flatten()
        predictions = Predictions(
            logits=logits[has_class],
            labels=labels.flatten()[has_class],
            owners=owners[has_class],
            class_names=self._class_names,
        )
        return self._metrics.of_predictions(predictions, round_index)

    def _in_order(self, kept: Sequence[Tensor]) -> Tensor:
        """The logits of all test samples, on the CPU: of batch i the i-th, whichever rank it belongs to."""
        ranks, shape = self._comm.size, (*self._inputs.labels.shape[1:], len(self._classes))
        own = torch.cat(list(kept)).cpu() if kept else torch.empty(0, *shape)
        gathered = enumerate(self._comm.gather(own))
        by_rank = [logits.split(self._batch_sizes[rank::ranks]) for rank, logits in gathered]
        return torch.cat([by_rank[batch % ranks][batch // ranks] for batch in range(self._num_batches)])

    def _counts(self, predicted: Tensor, labels: Tensor, owners: Tensor) -> Tensor:
        """The flat confusion matrix of a batch, then the labels of each client that are predicted correctly.

        Without ``bincount``, for which a GPU has to be waited for. Positions without a class count nowhere.
        """
        truth, guess = (classes.flatten()[:, None] == self._classes for classes in (labels, predicted))
        confusion = truth.T.float() @ guess.float()  # exact: sums of ones
        right_of_sample = (labels == predicted)[..., None].flatten(1).sum(1)
        right = (owners[:, None] == self._clients) * right_of_sample[:, None]
        return torch.cat([confusion.flatten().double(), right.sum(0).double()])
