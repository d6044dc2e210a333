"""Centered clipping: updates are clipped around a reference that the server keeps."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import Aggregator, Diagnostics, aggregators
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.affine_iteration import AffineIterate
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix

LEARNING_FROM_HISTORY = Reference(
    authors="Karimireddy, He and Jaggi",
    title="Learning from History for Byzantine Robust Optimization",
    year=2021,
    venue="ICML",
    url="https://arxiv.org/abs/2012.10333",
)


@aggregators.register("centered_clipping", LEARNING_FROM_HISTORY)
class CenteredClipping(Aggregator):
    """Mean of the updates' differences to a reference, each clipped to a radius.

        v <- v + (1/K) sum_k (g_k - v) min(1, tau / ||g_k - v||),    ``iterations`` times in a round

    K is the number of clients, g_k in R^D the update of client k, tau the ``radius``; v, of shape [D], is the step.
    It carries over from round to round and is 0 at first.

    It fails where tau is too large: nothing is clipped, and the step is the mean. An attacker who knows v moves it
    a little in the same direction every round, as no angle is checked (Özfatura et al. 2024).

    The original clips the clients' momenta; here it is whatever they send. The default radius is the released
    setting of FedSECA; on pseudo-gradients it rarely binds, as the logged ``clipped_share`` shows. ``radius: auto``
    [ours] is the lower median of the distances to v, computed again in each iteration, because the original gives
    no rule to choose tau.

    >>> clipping = CenteredClipping(radius=2.0, iterations=1)
    >>> rows = torch.tensor([[1.0], [3.0], [-90.0]])
    >>> clipping(rows), clipping(rows)    # 0 + (1 + 2 - 2) / 3, then 1/3 + (2/3 + 2 - 2) / 3
    (tensor([0.3333]), tensor([0.5556]))
    """

    commutes_with_rotations = True

    class Settings(Schema):
        radius: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
            100.0, description="tau, how far from v an update may pull it; auto: the median distance to v"
        )
        iterations: int = Field(3, ge=1, description="times that v moves in a round")

    settings: Settings
    shardable = True

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._reference: Tensor | None = None

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        v = AffineIterate(updates, self._reference)
        everybody = range(updates.num_rows)
        return self.finish(v, torch.stack([self.clip(v, everybody) for _ in range(self.settings.iterations)]))

    def clip(self, v: AffineIterate, rows: Sequence[int]) -> Tensor:
        """Move v <- v + mean over ``rows`` of the clipped differences; the clip factor of each of them."""
        distances = v.distances()
        radius = self.settings.radius
        tau = distances.median() if radius == "auto" else torch.tensor(radius, dtype=torch.float64)
        factors = torch.where(distances > tau, tau / distances, 1.0)
        shares = torch.zeros_like(factors)
        shares[rows] = factors[rows] / len(rows)
        v.step_towards(shares)
        return factors[rows]

    def finish(self, v: AffineIterate, factors: Tensor) -> Tensor:
        """Keep v for the next round and report the factors [iterations, K] of the clients."""
        mean = factors.mean(0)
        clipped = (factors < 1).double().mean()
        self.diagnostics = Diagnostics(
            per_client={"clip_factor": mean}, scalars={"clipped_share": float(clipped)}, trust=mean
        )
        self._reference = v.point()
        return self._reference.clone()

    def state_dict(self) -> dict[str, Any]:
        return {} if self._reference is None else {"reference": self._reference}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._reference = state.get("reference")
