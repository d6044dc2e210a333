"""How unlike each other honest updates are."""

from torch import Tensor

from fedsim.evaluation.metrics.base import Metric, RoundRows, metrics
from fedsim.registry import Reference
from fedsim.updates.row_statistics import squared_deviations


@metrics.register(
    "honest_variance",
    Reference(
        authors="Allouah, Farhadkhani, Guerraoui, Gupta, Pinot and Stephan",
        title="Fixing by Mixing: A Recipe for Optimal Byzantine ML under Heterogeneity",
        year=2023,
        venue="AISTATS",
        url="https://arxiv.org/abs/2302.01772",
    ),
)
class HonestVariance(Metric):
    """Mean squared distance of the honest rows to their mean μ, (1/H) Σ_k ||g_k - μ||².

    The squared error of a robust aggregator, ||A - μ||², is at most κ times it: that is what (f, κ)-robustness
    means. It takes one pass over the rows.
    """

    shardable = True

    def of_rows(self, rows: RoundRows) -> float | Tensor:
        if not rows.honest:
            return float("nan")
        return rows.updates.select(rows.honest).sum_over_blocks(squared_deviations) / len(rows.honest)
