"""A metric: a number about the global model after a round, or several with names.

`fedsim --plugin my_metric.py "evaluation.metrics=[{name: my_metric, limit: 0.8}]"`
"""

from pydantic import Field

from fedsim.evaluation.metrics import Metric, Predictions, metrics
from fedsim.settings import Schema


@metrics.register("my_metric")
class MyMetric(Metric):
    """How often the model is sure, and how often it is right then."""

    class Settings(Schema):
        limit: float = Field(0.9, ge=0, le=1, description="probability from which a prediction counts as sure")

    settings: Settings

    def of_predictions(self, predictions: Predictions) -> dict[str, float]:
        sure = predictions.probabilities.amax(dim=1) >= self.settings.limit  # [N]
        right = predictions.predicted == predictions.labels
        return {"sure": float(sure.float().mean()), "right": float(right[sure].float().mean())}  # NaN is null
