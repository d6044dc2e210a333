"""What a loss is: a number for each sample, and a weight for each class."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor

from fedsim.errors import ConfigError
from fedsim.registry import Component, Registry
from fedsim.settings import Schema


@dataclass(frozen=True)
class ClassCounts:
    """Training samples of each class [C]: a client's own, and those of all clients together."""

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

    def mean(self, logits: Tensor, labels: Tensor, class_weights: Tensor | None) -> Tensor:
        """The mean over samples, each weighing what its class does."""
        each = self.of_samples(logits, labels)
        if class_weights is None:
            return each.mean()
        weights = class_weights[labels]
        return (weights * each).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


losses = Registry[Loss]("loss")
