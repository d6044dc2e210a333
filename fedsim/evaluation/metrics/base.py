"""What a metric is: a number, or several with names, from the predictions or from the rows of a round."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from torch import Tensor

from fedsim.errors import ConfigError
from fedsim.registry import Component, Registry
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix

Values = float | Tensor | Mapping[str, float | Tensor]
"""A number, or several by name; NaN where there is none."""


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What the global model says about the test samples, in their order, on the CPU.

    There are N of them: one for each test sample, or one for each position where the positions of sequences have
    classes.

    Attributes:
        logits: [N, C], float32.
        labels: the true classes [N], int64.
        owners: the client that each test sample belongs to [N], -1 for none.
        class_names: of the C classes.

    >>> import torch
    >>> said = Predictions(
    ...     logits=torch.tensor([[0.0, 0.0], [1.0, 3.0]]),
    ...     labels=torch.tensor([0, 1]),
    ...     owners=torch.tensor([-1, -1]),
    ...     class_names=("cat", "dog"),
    ... )
    >>> said.probabilities[0].tolist(), said.predicted.tolist()
    ([0.5, 0.5], [0, 1])
    """

    logits: Tensor
    labels: Tensor
    owners: Tensor
    class_names: Sequence[str]

    @property
    def num_classes(self) -> int:
        """C."""
        return self.logits.shape[1]

    @cached_property
    def probabilities(self) -> Tensor:
        """The softmax of the logits [N, C], float64."""
        return self.logits.double().softmax(1)

    @cached_property
    def predicted(self) -> Tensor:
        """The class with the largest logit [N]."""
        return self.logits.argmax(1)


@dataclass(frozen=True, kw_only=True)
class RoundRows:
    """The rows of a round as the defence was given them, and who is honest, which no defence knows.

    Attributes:
        updates: the rows [K, D] after the attack, all finite, without buffers; not to be changed.
        honest: positions of the rows of clients that are honest in this round.
        aggregate: what the aggregator made of them [D].
        step: what is subtracted from the parameters [D].
        context: the facts of the round; row i belongs to client ``context.client_ids[i]``.

    Where the server is distributed over ranks, each has the coordinates of some columns; see
    :attr:`Metric.shardable`.
    """

    updates: UpdateMatrix
    honest: Sequence[int]
    aggregate: Tensor
    step: Tensor
    context: RoundContext

    @property
    def byzantine(self) -> list[int]:
        """Positions of the other rows."""
        return sorted(set(range(self.updates.num_rows)) - set(self.honest))


class Metric(Component):
    """Base of every metric; a subclass implements :meth:`of_predictions` or :meth:`of_rows`.

    Values are recorded under the metric's name, in ``metrics`` of a line of ``metrics.jsonl``; those of a mapping as
    ``<metric>.<name>``. No later round depends on them, and the global generators are seeded around each call. What a
    metric keeps from one round for the next is lost when the run is resumed.

    Raises:
        ConfigError: an unknown or impossible setting, by name; or it implements neither of the two, or both.

    >>> import torch
    >>> class Confidence(Metric):
    ...     "Mean probability of the predicted class."
    ...     def of_predictions(self, predictions):
    ...         return predictions.probabilities.amax(1).mean()
    >>> logits, zeros = torch.tensor([[0.0, 0.0], [0.0, 9.0]]), torch.tensor([0, 0])
    >>> said = Predictions(logits=logits, labels=zeros, owners=zeros, class_names=("cat", "dog"))
    >>> round(float(Confidence().of_predictions(said)), 3)
    0.75
    >>> class NumRows(Metric):
    ...     "Rows that the defence was given, honest and Byzantine."
    ...     def of_rows(self, rows):
    ...         return {"honest": len(rows.honest), "byzantine": len(rows.byzantine)}
    """

    shardable: ClassVar[bool] = False
    """Whether :meth:`of_rows` works on a matrix that is distributed over ranks by columns: it touches vectors over
    the columns through the matrix or coordinate by coordinate only. With a metric that does not, the server works
    whole on rank 0."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "of_rows" in vars(cls):  # values of its own inherit no promise
            cls.shardable = vars(cls).get("shardable", False)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        if self.uses_predictions == self.uses_rows:
            what = "both of_predictions and of_rows" if self.uses_rows else "neither of_predictions nor of_rows"
            problem = f"metric '{self.name or type(self).__name__}' implements {what}"
            raise ConfigError("name", problem, "let it implement one of the two")

    @classmethod
    def unimplemented(cls) -> list[str]:
        neither = cls.of_predictions is Metric.of_predictions and cls.of_rows is Metric.of_rows
        return ["of_predictions or of_rows"] if neither else []

    @property
    def uses_predictions(self) -> bool:
        """Whether it is a metric of predictions: they are kept, and gathered, only for such metrics."""
        return type(self).of_predictions is not Metric.of_predictions

    @property
    def uses_rows(self) -> bool:
        """Whether it is a metric of rows."""
        return type(self).of_rows is not Metric.of_rows

    def check(self, num_classes: int) -> None:
        """Check the settings against the data, before the first round.

        Raises:
            ConfigError: they make no sense for so many classes.
        """

    def of_predictions(self, predictions: Predictions) -> Values:
        """The values after a round with evaluation, on rank 0."""
        raise NotImplementedError

    def of_rows(self, rows: RoundRows) -> Values:
        """The values of a round with diagnosis (``tracking.diagnose_every``) in which some row was finite."""
        raise NotImplementedError


metrics = Registry("metric", Metric)
