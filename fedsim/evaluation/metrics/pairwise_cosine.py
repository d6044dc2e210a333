"""How far the clients agree on the direction."""

import torch
from torch import Tensor

from fedsim.evaluation.metrics.base import Metric, RoundRows, metrics


@metrics.register("pairwise_cosine")
class PairwiseCosine(Metric):
    """Mean cosine of two rows: ``honest`` of pairs of honest ones, ``between`` of an honest and a Byzantine one.

    The cosine of a zero row with any other is 0. It takes one pass over the rows, or none where the aggregator has
    needed their inner products already.
    """

    shardable = True

    def of_rows(self, rows: RoundRows) -> dict[str, Tensor]:
        products, norms = rows.updates.gram().cpu(), rows.updates.row_norms().cpu()
        lengths = norms[:, None] * norms
        cosines = torch.where(lengths > 0, products / lengths, 0.0)
        honest, byzantine = list(rows.honest), rows.byzantine
        first, second = torch.triu_indices(len(honest), len(honest), offset=1)
        pairs = cosines[honest][:, honest][first, second]
        return {"honest": pairs.mean(), "between": cosines[honest][:, byzantine].mean()}
