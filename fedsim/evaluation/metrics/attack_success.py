"""Whether an attack on the labels has reached what it wanted."""

import torch
from pydantic import Field

from fedsim.errors import ConfigError
from fedsim.evaluation.metrics.base import Metric, Predictions, metrics
from fedsim.settings import Schema


@metrics.register("attack_success")
class AttackSuccess(Metric):
    """Share of the test samples of a class that are classified as the class that the attack wants.

    Left as they are, the settings say what ``label_flip`` wants: that each class y of C is taken for C - 1 - y.
    Samples whose class is the wanted one already do not count.
    """

    class Settings(Schema):
        source: int | None = Field(None, ge=0, description="the class whose samples count; null: all")
        target: int | None = Field(None, ge=0, description="the class that is wanted; null: C - 1 - y for class y")

    settings: Settings

    def check(self, num_classes: int) -> None:
        source, target = self.settings.source, self.settings.target
        for key, value in (("source", source), ("target", target)):
            if value is not None and value >= num_classes:
                raise ConfigError(key, f"{value} is no class", f"give one from 0 to {num_classes - 1}")
        if source is not None and source == self._wanted(torch.tensor([source]), num_classes):
            raise ConfigError("target", f"it is class {source}, as the source", "give another class")

    def of_predictions(self, predictions: Predictions) -> float:
        labels, source = predictions.labels, self.settings.source
        wanted = self._wanted(labels, predictions.num_classes)
        counts = (labels != wanted) if source is None else (labels == source)
        return float((predictions.predicted == wanted)[counts].double().mean())

    def _wanted(self, labels: torch.Tensor, num_classes: int) -> torch.Tensor:
        target = self.settings.target
        return num_classes - 1 - labels if target is None else torch.full_like(labels, target)
