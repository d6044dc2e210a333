"""The minimum of a multi-dimensional Huber loss."""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import Aggregator, Diagnostics, aggregators, warn_of_reported_counts
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.affine_iteration import AffineIterate
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.row_statistics import RowStatistic


@aggregators.register(
    "huber",
    Reference(
        authors="Zhao, Yu and Wan",
        title="A Huber Loss Minimization Approach to Byzantine Robust Federated Learning",
        year=2024,
        venue="AAAI",
        url="https://arxiv.org/abs/2308.12581",
    ),
)
class Huber(Aggregator):
    """Minimum of the Huber loss of the distances to the updates.

        step = the v with the smallest sum_k phi_k(||g_k - v||),
        phi_k(d) = d^2/2 for d <= T_k, else T_k d - T_k^2/2

    K is the number of clients, g_k in R^D the update of client k, T_k (``threshold``) the distance beyond which its
    pull on the step no longer grows; the step has the shape [D]. From v = 0, v moves to the mean of the updates with
    weights min(1, T_k / max(||g_k - v||, smoothing)), until it moves less than ``tolerance``.

    It fails where T_k is far above the distances, as it is the mean then. Far below them it is nearly the geometric
    median, which suffers from heterogeneous data.

    The original's T_k is proportional to 1/sqrt(n_k), n_k the sample count of client k; ``auto`` takes 2/sqrt(n_k)
    from the reported counts and warns, because a Byzantine client may report any. The default is the released
    setting of FedSECA and intends the geometric median. The start at zero is that of the released code, which
    however iterates on weights. Clients count equally otherwise.

    >>> import torch
    >>> rows = torch.tensor([[1.0], [2.0], [3.0], [100.0]])
    >>> Huber(threshold=1.0, tolerance=1e-9)(rows)    # 2 + 1/2: within 1 weigh 2 and 3, beyond pull 1 and 100
    tensor([2.5000])
    """

    commutes_with_rotations = True

    class Settings(Schema):
        threshold: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
            0.02,
            description="T, rows farther than this count by distance, not by square; auto: 2 / sqrt(n_k), n_k the "
            "sample count that client k reports",
        )
        iterations: int = Field(100, ge=1, description="most steps of the reweighting")
        tolerance: float = Field(1e-3, ge=0, description="stop when a step moves less than this")
        smoothing: float = Field(1e-6, gt=0, description="no distance counts as shorter than this")

    settings: Settings
    shardable = True

    def row_statistics(self) -> Sequence[RowStatistic]:
        return ("gram",)

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        settings, threshold = self.settings, self._thresholds(context)
        minimum = AffineIterate(updates)
        for steps in range(1, settings.iterations + 1):  # noqa: B007
            weights = (threshold / minimum.distances().clamp(min=settings.smoothing)).clamp(max=1)
            minimum.move_to_mean(weights)
            if minimum.last_move() < settings.tolerance:
                break
        share = weights / weights.sum()
        self.diagnostics = Diagnostics(
            per_client={"weight": share}, scalars={"iterations": steps}, trust=share / share.max()
        )
        return minimum.point()

    def _thresholds(self, context: RoundContext) -> Tensor:
        """T, of each client where they differ."""
        if self.settings.threshold == "auto":
            return 2 / context.reported_counts("threshold: auto").sqrt()
        return torch.tensor(self.settings.threshold, dtype=torch.float64)

    def check(self, num_rows: int) -> None:
        if self.settings.threshold == "auto":
            warn_of_reported_counts("threshold: auto")
