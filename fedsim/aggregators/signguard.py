"""SignGuard: clients whose norm and whose shares of signs are like those of most."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import Aggregator, Diagnostics, aggregators
from fedsim.errors import ConfigError
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.row_statistics import RowStatistic

SMALLEST_BANDWIDTH = 1e-7
"""scikit-learn's distances between features in [0, 1] are rounded to about 1e-8: less than this is zero."""


def sign_shares(updates: UpdateMatrix) -> Tensor:
    """Shares [K, 3] of positive, zero and negative signs in each row, float64.

    >>> sign_shares(UpdateMatrix(torch.tensor([[1.0, 2.0, 0.0, -1.0]])))
    tensor([[0.5000, 0.2500, 0.2500]], dtype=torch.float64)
    """
    counts = updates.sum_over_blocks(
        lambda block: torch.stack([(block > 0).sum(1), (block == 0).sum(1), (block < 0).sum(1)], dim=1)
    )
    return counts.double().cpu() / updates.num_columns


def largest_cluster(features: Tensor) -> Tensor:
    """Which rows of ``features`` [K, F] lie in mean shift's largest cluster; a tie goes to the denser one.

    The denser cluster is the one with more points within the bandwidth of its centre, to whichever cluster these
    belong. A point that lies within the bandwidth of no centre belongs to no cluster.

    >>> largest_cluster(torch.tensor([[0.9], [0.1], [0.1], [0.12], [0.11]]).double())
    tensor([False,  True,  True,  True,  True])
    """
    from sklearn.cluster import MeanShift, estimate_bandwidth  # heavy
    from threadpoolctl import threadpool_limits

    points = features.numpy()
    # On so few points, threads that wait for a busy core cost up to fifty times the work itself.
    with threadpool_limits(1), warnings.catch_warnings():
        # With as many bins as points, the points themselves are the seeds: nothing to warn of.
        warnings.filterwarnings("ignore", message="Binning data failed")
        bandwidth = float(estimate_bandwidth(points, quantile=0.5))
        if bandwidth < SMALLEST_BANDWIDTH:
            return torch.ones(len(features), dtype=torch.bool)
        found = MeanShift(bandwidth=bandwidth, bin_seeding=True, cluster_all=False).fit(points)
    labels = torch.from_numpy(found.labels_)  # clusters are numbered from the densest one, -1 is none
    return labels == int(labels[labels >= 0].bincount().argmax())


@aggregators.register(
    "signguard",
    Reference(
        authors="Xu, Huang, Song and Lan",
        title="Byzantine-robust Federated Learning through Collaborative Malicious Gradient Filtering",
        year=2022,
        venue="ICDCS",
        url="https://arxiv.org/abs/2109.05872",
    ),
)
class SignGuard(Aggregator):
    """Mean of the clients of usual norm and usual shares of signs, clipped to the median norm.

        step = mean over k in A & B of g_k min(1, tau / ||g_k||),    tau = lower median of the ||g_k||
        A    = the k with lower m < ||g_k|| < upper m,               m   = median of the ||g_k||
        B    = the largest cluster of the features (share of +, share of 0, share of -) of the g_k

    K is the number of clients, g_k in R^D the update of client k; the step has the shape [D]. Signs are counted in
    one random contiguous window, a ``coordinate_share`` of the row; each feature is divided by its maximum, and mean
    shift finds the clusters.

    It fails against an update of honest norm and sign shares but false positions, such as a permuted honest update.

    As in the authors' code, the norm filter goes by the usual median, the mean of the two middle norms of an even
    number of clients, and the clip by the lower of these; a client whose features lie outside every cluster belongs
    to none; of equally large clusters the denser one counts, and of equally dense ones that with the larger shares,
    compared in the order above. If nobody passes both filters, A alone decides; if A is empty too, all are averaged,
    clipped [ours: undefined in the original]. Their window never reaches the last coordinate, ours does.

    Raises:
        ConfigError: ``lower`` is not below ``upper``.

    >>> rows = [[3.0, 4.0, -1.0], [4.0, 3.0, -1.0], [6.0, 8.0, -2.0], [90.0, 0.0, -9.0], [-3.0, -4.0, 1.0]]
    >>> SignGuard(coordinate_share=1.0)(torch.tensor(rows))    # the third clipped, without the last two
    tensor([ 3.3333,  3.6667, -1.0000])
    """

    class Settings(Schema):
        lower: float = Field(0.1, ge=0, description="smallest norm that passes, in median norms (exclusive)")
        upper: float = Field(3.0, gt=0, description="largest norm that passes, in median norms (exclusive)")
        coordinate_share: float = Field(0.1, gt=0, le=1, description="share of the row whose signs are counted")

    settings: Settings
    shardable = True

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        if self.settings.lower >= self.settings.upper:
            raise ConfigError("lower", f"{self.settings.lower} is not below upper", "no norm could pass")

    def row_statistics(self) -> Sequence[RowStatistic]:
        return ("norms",)

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        norms = updates.row_norms().cpu()
        middle = norms.quantile(0.5)  # the usual median, as in the authors' filter
        usual_norm = (self.settings.lower * middle < norms) & (norms < self.settings.upper * middle)
        usual_signs = self._usual_signs(updates, context)
        kept = usual_norm & usual_signs
        if not kept.any():
            kept = usual_norm if usual_norm.any() else torch.ones_like(usual_norm)

        tau = norms.median()  # the lower one, as in the authors' clip
        factors = torch.where(norms > tau, tau / norms, 1.0)
        self.diagnostics = Diagnostics(
            per_client={"usual_norm": usual_norm, "usual_signs": usual_signs, "clip_factor": factors},
            trust=kept.double(),
        )
        return updates.weighted_sum(factors * kept / kept.sum())

    def _usual_signs(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        """Which clients [K] lie in the largest cluster of the shares of signs."""
        shares = sign_shares(updates.columns([self._draw_window(updates.num_columns, context)]))
        largest = shares.amax(0)
        features = shares / torch.where(largest > 0, largest, 1.0)
        order = context.in_id_order()
        usual = torch.empty(len(order), dtype=torch.bool)
        usual[order] = largest_cluster(features[order])
        return usual

    def _draw_window(self, columns: int, context: RoundContext) -> tuple[int, int]:
        width = max(1, int(self.settings.coordinate_share * columns))
        start = int(torch.randint(columns - width + 1, (1,), generator=context.randomness()))
        return start, start + width
