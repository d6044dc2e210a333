"""FedNGA: the mean of the updates' directions."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fedsim.aggregators.base import Aggregator, Diagnostics, aggregators
from fedsim.registry import Reference
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.row_statistics import RowStatistic


@aggregators.register(
    "fednga",
    Reference(
        authors="Zuo et al.",
        title="Efficient Federated Learning against Byzantine Attacks and Data Heterogeneity "
        "via Aggregating Normalized Gradients",
        year=2025,
        venue="NeurIPS",
        url="https://arxiv.org/abs/2408.09539",
    ),
)
class FedNGA(Aggregator):
    """Mean of the updates scaled to length one.

        step = (1/K) sum_k g_k / ||g_k||

    K is the number of clients, g_k in R^D the update of client k; the step has the shape [D] and is never longer
    than 1, so the server's learning rate sets its length.

    It fails where honest directions differ: they partly cancel, while f Byzantine clients that agree on a direction
    add f/K to it. How long the honest updates are is lost.

    The original weights clients by weights that sum to one; here they count equally. A zero update adds nothing but
    counts in K [ours]; the formula does not define it.

    >>> FedNGA()(torch.tensor([[3.0, 4.0], [0.0, -500.0]]))
    tensor([ 0.3000, -0.1000])
    """

    commutes_with_rotations = True
    shardable = True

    def row_statistics(self) -> Sequence[RowStatistic]:
        return ("norms",)

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        norms = updates.row_norms()
        self.diagnostics = Diagnostics(per_client={"norm": norms})
        return updates.weighted_sum(torch.where(norms > 0, 1 / norms, 0.0) / updates.num_rows)
