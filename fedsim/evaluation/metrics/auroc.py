"""How well each class is separated from the others."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from fedsim.evaluation.metrics.base import Metric, Predictions, metrics
from fedsim.registry import Reference


@metrics.register(
    "auroc",
    Reference(
        authors="Hand and Till",
        title="A Simple Generalisation of the Area Under the ROC Curve for Multiple Class Classification Problems",
        year=2001,
        venue="Machine Learning",
        url="https://doi.org/10.1023/A:1010920819831",
    ),
)
class Auroc(Metric):
    """Area under the ROC curve of a class against the rest, by its probability; the mean over the classes (macro).

    The area of a class is the share of pairs of a sample of it and one of another class in which the first has the
    higher probability, a tie counting half. Classes without test samples are left out. The publication compares each
    pair of classes; one against the rest is what most libraries mean.
    """

    def of_predictions(self, predictions: Predictions) -> float:
        own = one_hot(predictions.labels, predictions.num_classes).double()
        inside = own.sum(0)
        outside = len(own) - inside
        pairs_won = (_ranks(predictions.probabilities) * own).sum(0) - inside * (inside + 1) / 2
        return float((pairs_won / (inside * outside)).nanmean())


def _ranks(scores: Tensor) -> Tensor:
    """The rank of each score [N, C] in its column, from 1, the mean of their ranks where scores are tied.

    >>> _ranks(torch.tensor([[0.5], [0.1], [0.5], [0.9]])).flatten().tolist()
    [2.5, 1.0, 2.5, 4.0]
    """
    columns = scores.T.contiguous()
    in_order = columns.sort().values
    below, up_to = (torch.searchsorted(in_order, columns, side=side) for side in ("left", "right"))
    ranks = (below + up_to + 1).double() / 2
    return torch.where(columns.isnan(), torch.nan, ranks).T
