"""Whether confidence is deserved."""

import torch
from pydantic import Field

from fedsim.evaluation.metrics.base import Metric, Predictions, metrics
from fedsim.registry import Reference
from fedsim.settings import Schema


@metrics.register(
    "expected_calibration_error",
    Reference(
        authors="Guo, Pleiss, Sun and Weinberger",
        title="On Calibration of Modern Neural Networks",
        year=2017,
        venue="ICML",
        url="https://arxiv.org/abs/1706.04599",
    ),
)
class ExpectedCalibrationError(Metric):
    """Distance between confidence and accuracy, Σ_b (n_b/N) |accuracy_b - confidence_b|.

    Samples are sorted into bins b of equal width by their confidence, the probability of the predicted class; n_b is
    how many are in the bin, accuracy_b the share of them that is right, confidence_b the mean confidence.
    """

    class Settings(Schema):
        bins: int = Field(15, ge=1, le=10_000, description="bins of equal width from 0 to 1, each with its upper end")

    settings: Settings

    def of_predictions(self, predictions: Predictions) -> float:
        confidence, predicted = predictions.probabilities.max(1)
        gap = (predicted == predictions.labels).double() - confidence
        bins = (confidence.nan_to_num() * self.settings.bins).ceil().long().clamp(1, self.settings.bins) - 1
        sums = torch.zeros(self.settings.bins, dtype=torch.float64).index_add_(0, bins, gap)
        return float(sums.abs().sum() / len(gap))
