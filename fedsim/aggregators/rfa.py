"""RFA: an approximate geometric median."""

from collections.abc import Sequence

from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import Aggregator, Diagnostics, aggregators
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.affine_iteration import AffineIterate
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.row_statistics import RowStatistic


@aggregators.register(
    "rfa",
    Reference(
        authors="Pillutla, Kakade and Harchaoui",
        title="Robust Aggregation for Federated Learning",
        year=2022,
        venue="IEEE Transactions on Signal Processing",
        url="https://arxiv.org/abs/1912.13445",
    ),
)
class RFA(Aggregator):
    """Approximate geometric median by a few steps of the smoothed Weiszfeld algorithm.

        v_0 = 0,    v_(r+1) = sum_k w_k g_k / sum_k w_k,    w_k = 1 / max(||g_k - v_r||, nu)

    K is the number of clients, g_k in R^D the update of client k, nu (``smoothing``) the shortest distance that
    counts; the step is v_R of shape [D], R the number of ``iterations``. As R grows it approaches the v of smallest
    sum_k ||g_k - v||.

    It fails where data are heterogeneous: Byzantine updates inside the spread of the honest ones get the same
    weights as these, and the error grows with that spread.

    The original weights clients by their sample counts; here they count equally, because a Byzantine client may
    report any count. The iteration starts from the zero update, the current global model, which no client can move;
    the authors' library starts from the weighted mean. The released code of FedSECA iterates on weights instead.

    >>> import torch
    >>> RFA(iterations=1)(torch.tensor([[1.0], [2.0], [-50.0]]))    # 1 + 1 - 1 by 1 + 1/2 + 1/50
    tensor([0.6579])
    """

    commutes_with_rotations = True

    class Settings(Schema):
        iterations: int = Field(3, ge=1, description="steps of the Weiszfeld algorithm")
        smoothing: float = Field(1e-6, gt=0, description="nu, no distance counts as shorter than this")

    settings: Settings
    shardable = True

    def row_statistics(self) -> Sequence[RowStatistic]:
        return ("gram",)

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        median = AffineIterate(updates)
        for _ in range(self.settings.iterations):
            weights = 1 / median.distances().clamp(min=self.settings.smoothing)
            median.move_to_mean(weights)
        share = weights / weights.sum()
        self.diagnostics = Diagnostics(per_client={"weight": share}, trust=share / share.max())
        return median.point()
