"""Krum: the update closest to its neighbours."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fedsim.aggregators.base import Diagnostics, TolerantAggregator, aggregators
from fedsim.registry import Reference
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.neighbours import krum_scores
from fedsim.updates.rounding import TIE
from fedsim.updates.row_statistics import RowStatistic

KRUM = Reference(
    authors="Blanchard, El Mhamdi, Guerraoui and Stainer",
    title="Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent",
    year=2017,
    venue="NeurIPS",
    url="https://arxiv.org/abs/1703.02757",
)


@aggregators.register("krum", KRUM)
class Krum(TolerantAggregator):
    """The one update that is closest to its nearest neighbours.

        score_k = sum of the K-f-2 smallest ||g_k - g_l||^2 over l != k
        step    = g_k of the client with the smallest score

    K is the number of clients, g_k in R^D the update of client k, f (``num_byzantine``) the number of Byzantine
    clients to defend against; the step has the shape [D]. Equal scores go to the lower client id.

    It fails where data are heterogeneous: whatever distinguishes the other K-1 clients is thrown away, honest or
    not. Byzantine updates that agree with each other inside the spread of the honest ones are selected.

    The original demands 2f + 2 < K, that is f <= (K-3)/2. Published experiments go beyond it, so here a larger f
    warns only, and Krum goes on with max(1, K-f-2) neighbours. Distances are squared, as in the original; the
    released code of FedSECA sums plain distances.

    >>> Krum(num_byzantine=1)(torch.tensor([[1.0], [1.5], [2.0], [2.25], [-50.0]]))
    tensor([2.])
    """

    commutes_with_rotations = True

    largest_f = staticmethod(lambda num_rows: (num_rows - 3) // 2)
    works_beyond = True
    shardable = True

    def row_statistics(self) -> Sequence[RowStatistic]:
        return ("gram",)

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        f = self.tolerated(updates.num_rows, context)
        scores = krum_scores(updates.squared_distances(), f)
        limit = float(scores.min()) * (1 + TIE)
        tied = [row for row, score in enumerate(scores.tolist()) if score <= limit]
        chosen = min(tied, key=lambda row: context.client_ids[row])
        weights = torch.zeros(updates.num_rows)
        weights[chosen] = 1
        self.diagnostics = Diagnostics(
            per_client={"score": scores, "selected": weights}, scalars={"num_byzantine": f}, trust=weights
        )
        return updates.row(chosen).clone()
