"""What a loss is: a number for each sample or position of a sequence, and a weight for each class."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from fedsim.errors import ComponentError, ConfigError
from fedsim.registry import Component, Registry, in_words
from fedsim.settings import Schema


@dataclass(frozen=True)
class ClassCounts:
    """Training samples (positions of sequences) of each class [C]: a client's own, and those of all together."""

    client: Tensor
    everyone: Tensor


class LossSettings(Schema):
    """Settings of every loss."""

    class_weights: Literal["none", "client", "global"] | list[NonNegativeFloat] = Field(
        "none",
        description="client: a class weighs n/(C n_c), counted in the client's own samples; "
        "global: in those of all; or a list of weights",
    )


class Loss(Component):
    """A weighted mean over samples; a subclass implements :meth:`of_samples`."""

    class Settings(LossSettings):
        pass

    def class_weights(self, counts: ClassCounts) -> Tensor | None:
        """The weight of each class [C], float32; None where all weigh the same. Absent classes weigh nothing.

        Raises:
            ConfigError: a list of another length than there are classes; key ``class_weights``.
        """
        wanted, classes = self.settings.class_weights, len(counts.everyone)
        if wanted == "none":
            return None
        if isinstance(wanted, list):
            if len(wanted) != classes:
                raise ConfigError("class_weights", f"{len(wanted)} weights for {classes} classes", f"give {classes}")
            return torch.tensor(wanted)
        seen = (counts.client if wanted == "client" else counts.everyone).double()
        return torch.where(seen > 0, seen.sum() / (classes * seen.clamp(min=1)), 0.0).float()

    @abstractmethod
    def of_samples(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of each sample [n], all classes weighing the same; from logits [n, C] and classes [n]."""
        raise NotImplementedError

    def of_labels(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of each label, in the shape of the labels; what an ignored position has means nothing.

        Args:
            logits: [n, C], or [n, T, C] of sequences.
            labels: classes [n], or [n, T] of the positions.
        """
        if labels.ndim == 1:
            return self._of_each(logits, labels)
        return self._of_each(logits.flatten(0, -2), labels.flatten().clamp(min=0)).view_as(labels)

    def _of_each(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What :meth:`of_samples` returns; ComponentError if that is no number for each of them."""
        each = self.of_samples(logits, labels)
        if not isinstance(each, Tensor):
            raise ComponentError(f"{self.who}: of_samples returned {in_words(each)}, not a loss for each label")
        if each.shape != labels.shape:
            found, wanted = list(each.shape), list(labels.shape)
            raise ComponentError(
                f"{self.who}: of_samples returned shape {found}, not {wanted}: a loss for each label"
            )
        return each

    def mean(self, logits: Tensor, labels: Tensor, class_weights: Tensor | None) -> Tensor:
        """The mean over samples, or over all positions of sequences, each weighing what its class does.

        Shapes are those of :meth:`of_labels`. Positions without a class weigh nothing.
        """
        each = self.of_labels(logits, labels)
        if class_weights is None and labels.ndim == 1:
            return each.mean()
        weights = label_weights(labels, class_weights)
        return (weights * each).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def label_weights(labels: Tensor, class_weights: Tensor | None) -> Tensor:
    """The weight of each label in a loss, in the shape of the labels: that of its class, 0 where there is none.

    >>> label_weights(torch.tensor([[1, 0, -100]]), torch.tensor([0.5, 2.0]))
    tensor([[2.0000, 0.5000, 0.0000]])
    """
    if class_weights is None:
        weights = torch.ones(labels.shape, device=labels.device)
    else:
        weights = class_weights[labels if labels.ndim == 1 else labels.clamp(min=0)]
    return weights if labels.ndim == 1 else weights * (labels >= 0)


losses = Registry("loss", Loss)
