"""RFFL: reputations decide the weights, and who may stay."""

from collections.abc import Mapping, Sequence
from math import fsum
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import Aggregator, Diagnostics, aggregators
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.order_statistics import sum_rows
from fedsim.updates.row_statistics import RowStatistic


@aggregators.register(
    "rffl",
    Reference(
        authors="Xu and Lyu",
        title="A Reputation Mechanism Is All You Need: Collaborative Fairness and Adversarial Robustness "
        "in Federated Learning",
        year=2021,
        venue="ICML Workshop on Federated Learning for User Privacy and Data Confidentiality",
        url="https://arxiv.org/abs/2011.10464",
    ),
)
class RFFL(Aggregator):
    """Clipped updates weighted by reputation, a moving average of their cosine with the aggregate.

        step = sum_k r_k G_k,    G_k = g_k min(1, Gamma / ||g_k||)
        r_k <- max(0, fade r_k + (1 - fade) cos(G_k, step)),    then divided by their sum over R

    K is the number of clients, g_k in R^D the update of client k, Gamma the ``clip``, r_k its reputation, 1/K at
    first, R the clients that have not left; the step has the shape [D]. After the warm-up, those with
    r_k < 1/(3|R|), a third of the average, leave for good, though never the last one.

    It fails where Byzantine clients dominate the step: reputation follows the step, so the honest ones leave.

    The original also returns less of the aggregate to clients of little reputation; here all get the same model.
    It assumes that every client is there in every round. Where one is not [ours]: the weights are the reputations
    of the clients present divided by their sum (no step, if it is 0), an absent client keeps its reputation, and
    what those who leave had is distributed over the others. If every reputation is 0, all are equal. ``clip: auto``
    [ours] is the median norm of the clients present in R, since norms differ between models. The authors' code
    starts reputations at 0 and keeps negative ones until the threshold, without a warm-up: who opposes leaves at once
    there, and after several rounds here.

    >>> rffl = RFFL(fade=0.5, warmup_rounds=0)
    >>> rows = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, -1.0]])
    >>> rffl(rows)
    tensor([ 0.6667, -0.3333])
    >>> rffl.diagnostics.per_client["reputation"]    # cosines 0.89, 0.89, 0.45
    tensor([0.3794, 0.3794, 0.2412], dtype=torch.float64)
    """

    commutes_with_rotations = True

    class Settings(Schema):
        fade: float = Field(0.95, ge=0, le=1, description="share of the old reputation in the new one")
        warmup_rounds: int = Field(10, ge=0, description="rounds in which nobody has to leave")
        clip: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
            "auto", description="Gamma, largest norm of an update; auto: the median norm"
        )

    settings: Settings
    shardable = True

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._reputations: dict[int, float] = {}
        self._left: set[int] = set()
        self._rounds = 0

    def row_statistics(self) -> Sequence[RowStatistic]:
        return ("norms",)

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        ids = context.client_ids
        present = [row for row in context.in_id_order() if ids[row] not in self._left]
        for row in present:
            self._reputations.setdefault(ids[row], 1 / len(present))
        weights = self._weights(ids)
        norms = updates.row_norms()
        factors = self._clip_factors(norms, present)
        scaled = weights.to(norms.device) * factors
        cosines = _cosines(updates, scaled, norms)
        self._update({ids[row]: cosines[row] for row in present})
        self._report(weights, factors, context)
        return updates.weighted_sum(scaled)

    def _weights(self, clients: tuple[int, ...]) -> Tensor:
        """Reputations over their sum; 0 for those who have left."""
        reputations = [self._reputations.get(client, 0.0) for client in clients]
        return torch.tensor(reputations, dtype=torch.float64) / (fsum(reputations) or 1.0)

    def _clip_factors(self, norms: Tensor, present: list[int]) -> Tensor:
        """min(1, Gamma / norm) for each row [K]; 1 for a zero row."""
        clip = self.settings.clip
        limit = clip if clip != "auto" else float(norms[present].median()) if present else torch.inf
        return torch.where(norms > 0, limit / norms, 1.0).clamp(max=1.0)

    def _update(self, cosines: Mapping[int, float]) -> None:
        """The new reputations, and who leaves."""
        fade = self.settings.fade
        for client, cosine in cosines.items():
            self._reputations[client] = max(0.0, fade * self._reputations[client] + (1 - fade) * cosine)
        self._normalise()
        self._rounds += 1
        if self._rounds > self.settings.warmup_rounds:
            # The best reputation is at least the average, so there is always one who stays.
            limit = 1 / (3 * max(1, len(self._reputations)))
            leaving = {client for client, reputation in self._reputations.items() if reputation < limit}
            self._left |= leaving
            self._reputations = {k: r for k, r in self._reputations.items() if k not in leaving}
            self._normalise()

    def _normalise(self) -> None:
        total = fsum(self._reputations.values())
        for client, reputation in self._reputations.items():
            self._reputations[client] = reputation / total if total > 0 else 1 / len(self._reputations)

    def _report(self, weights: Tensor, factors: Tensor, context: RoundContext) -> None:
        reputations = [self._reputations.get(client, 0.0) for client in context.client_ids]
        self.diagnostics = Diagnostics(
            per_client={
                "reputation": torch.tensor(reputations, dtype=torch.float64),
                "weight": weights,
                "clip_factor": factors,
            },
            scalars={"active_clients": float(len(self._reputations))},
            trust=weights / weights.max().clamp(min=torch.finfo(weights.dtype).tiny),
        )

    def state_dict(self) -> dict[str, Any]:
        return {"reputations": dict(self._reputations), "left": sorted(self._left), "rounds": self._rounds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._reputations, self._left = dict(state["reputations"]), set(state["left"])
        self._rounds = state["rounds"]


def _cosines(updates: UpdateMatrix, weights: Tensor, norms: Tensor) -> list[float]:
    """Cosine of each row with the sum of the rows weighted by ``weights`` [K]; 0 where one of the two is zero."""
    counted = weights.nonzero().flatten()

    def products(block: Tensor) -> Tensor:
        wide = block.double()
        step = sum_rows(wide[counted] * weights[counted, None])
        return torch.cat([wide @ step, (step @ step)[None]])

    sums = updates.sum_over_blocks(products)
    lengths = norms * sums[-1].sqrt()
    return torch.where(lengths > 0, sums[:-1] / lengths, 0.0).tolist()
