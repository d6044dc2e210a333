"""Nearly right."""

import torch
from pydantic import Field

from fedsim.errors import ConfigError
from fedsim.evaluation.metrics.base import Metric, Predictions, metrics
from fedsim.settings import Schema


@metrics.register("top_k")
class TopK(Metric):
    """Share of the test samples whose class is among the k classes with the largest logits.

    Of equal logits that of the lower class counts as larger, so that with k = 1 it is the accuracy.
    """

    class Settings(Schema):
        k: int = Field(5, ge=1, description="classes that count, fewer than there are")

    settings: Settings

    def check(self, num_classes: int) -> None:
        if self.settings.k >= num_classes:
            problem = f"the class is always among {self.settings.k} of {num_classes}"
            raise ConfigError("k", problem, f"give at most {num_classes - 1}")

    def of_predictions(self, predictions: Predictions) -> float:
        logits, labels = predictions.logits, predictions.labels[:, None]
        own, classes = logits.gather(1, labels), torch.arange(predictions.num_classes)
        ahead = (logits > own) | ((logits == own) & (classes < labels))
        found = (ahead.sum(1) < self.settings.k) & ~logits.isnan().any(1)
        return float(found.double().mean())
