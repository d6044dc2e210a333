"""A proper score of probabilities."""

from torch.nn.functional import one_hot

from fedsim.evaluation.metrics.base import Metric, Predictions, metrics
from fedsim.registry import Reference


@metrics.register(
    "brier",
    Reference(
        authors="Brier",
        title="Verification of Forecasts Expressed in Terms of Probability",
        year=1950,
        venue="Monthly Weather Review",
        url="https://doi.org/10.1175/1520-0493(1950)078%3C0001:VOFEIT%3E2.0.CO;2",
    ),
)
class Brier(Metric):
    """Brier score: squared distance of the probabilities to the truth, Σ_c (p_c - y_c)², the mean over samples.

    y_c is 1 for the true class and 0 for the others. It is 0 where all are sure and right, and 2 where all are sure
    and wrong.
    """

    def of_predictions(self, predictions: Predictions) -> float:
        truth = one_hot(predictions.labels, predictions.num_classes)
        return float((predictions.probabilities - truth).square().sum(1).mean())
