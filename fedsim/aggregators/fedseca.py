"""FedSECA: sign election by concordance ratio (CRISE), then robust coordinate-wise aggregation (RoCA)."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import Aggregator, Diagnostics, aggregators
from fedsim.errors import FedsimWarning
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.column_maps import column_map
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.order_statistics import count, lower_median, sum_rows, weighted_count
from fedsim.updates.quantiles import as_threshold
from fedsim.updates.row_statistics import RowStatistic


def concordance_votes(sign_agreement: Tensor) -> Tensor:
    """K times the concordance ratio of each client, as integers [K] (Eq. 5).

    Args:
        sign_agreement: [K, K], D times the sign concordance of each pair (Eq. 4).

    >>> concordance_votes(torch.tensor([[9, 5, -1], [5, 9, 3], [-1, 3, 9]]))
    tensor([1, 3, 1])
    """
    return sign_agreement.sign().sum(1).clamp(min=0)


def clip_factors(norms: Tensor) -> Tensor:
    """min(1, tau / norm) for each client [K], tau the lower median of the norms (Eq. 8); 1 for a zero row."""
    return torch.where(norms > 0, norms.median() / norms, 1.0).clamp(max=1.0)


class Rules(NamedTuple):
    """Which form of the formula a coordinate goes through; see :class:`FedSECA`."""

    as_released: bool
    clamp: bool
    agree: bool


def least_that_survives(quantiles: Tensor, factors: Tensor, *, inclusive: bool) -> Tensor:
    """What magnitude a value of each client must exceed [K] to survive (Eq. 10), or must have, where ``inclusive``.

    A value that clipping rounds to zero does not survive: its product with the factor is at most half of the smallest
    number of the dtype. Where unclipped values are averaged, that is so of zero itself.

    >>> least_that_survives(torch.tensor([0.1, 0.1]).double(), torch.tensor([1.0, 0.0]), inclusive=False)
    tensor([0.1000,    inf])
    """
    limits = torch.finfo(factors.dtype)
    smallest = limits.smallest_normal * limits.eps
    threshold = as_threshold(quantiles, factors.dtype, inclusive=inclusive)
    if inclusive:
        return threshold.clamp(min=smallest)
    lost = as_threshold(smallest / factors.double() / 2, factors.dtype, inclusive=False)
    return torch.maximum(threshold, lost)


@column_map
def vote_and_average(
    block: Tensor, factors: Tensor, least: Tensor, votes: Tensor | None, rules: Rules
) -> tuple[Tensor, Tensor]:
    """The r^j [b], and how many coordinates are undecided, and of each client survive and agree [1 + 2 K].

    Args:
        factors: of the clipping [K, 1] (Eq. 8).
        least: see :func:`least_that_survives` [K, 1].
        votes: of each client [K, 1], integers; None: values are summed instead.
    """
    raw = block.abs()
    clipped = raw * factors  # Eq. 8
    values = raw.clone() if rules.as_released else clipped
    bound = lower_median(clipped) if rules.clamp else torch.ones_like(clipped[0])
    if rules.clamp:
        values = torch.minimum(values, bound)  # Eq. 9
    present = bound.sign()  # 0 where everything is clamped to zero
    survives = _reach(raw, least, rules)  # Eq. 10
    elected = _elect(block * survives if rules.as_released else block, votes).to(block.dtype)
    agrees = _reach(block * (elected * present), least, rules)
    if rules.agree:
        mean = elected * (sum_rows(values.mul_(agrees)) / count(agrees, dim=0).clamp(min=1))  # Eq. 7
    else:
        mean = sum_rows(values.mul_(block.sign()).mul_(survives).mul_(present)) / len(block)
    undecided = count(1 - elected.abs()[None], dim=1)
    return mean, torch.cat([undecided, weighted_count(survives, present, dim=1), count(agrees, dim=1)]).long()


def _reach(values: Tensor, least: Tensor, rules: Rules) -> Tensor:
    """Where ``values``, which are overwritten, survive: as numbers 1 and 0."""
    return values.ge_(least) if rules.as_released else values.gt_(least)


def _elect(values: Tensor, votes: Tensor | None) -> Tensor:
    """The elected signs [b] (Eq. 6). Sums of votes, integers up to K^2, are exact."""
    if votes is None:
        return sum_rows(values).sign_()
    return weighted_count(values.sign(), votes[:, 0], dim=0).sign_()


FEDSECA = Reference(
    authors="Benjamin, Asokan, Yaqub and Nandakumar",
    title="FedSECA: Sign Election and Coordinate-wise Aggregation of Gradients "
    "for Byzantine Tolerant Federated Learning",
    year=2025,
    venue="CVPR Workshops (FedVision)",
    url="https://arxiv.org/abs/2411.03861",
)


@aggregators.register("fedseca", FEDSECA)
class FedSECA(Aggregator):
    """Signs elected by concordance ratio; mean of the variance-reduced values that agree.

        w_kl  = (1/D) sum_j sgn(g_k^j) sgn(g_l^j),    rho_k = max(0, (1/K) sum_l sgn(w_kl))      (Eq. 4, 5)
        s^j   = sgn(sum_k rho_k sgn(g_k^j))                                                      (Eq. 6)
        c_k   = g_k min(1, tau / ||g_k||),            tau   = median_k ||g_k||                   (Eq. 8)
        v_k^j = sgn(c_k^j) min(mu^j, |c_k^j|),        mu^j  = median_k |c_k^j|                   (Eq. 9)
        v_k^j = 0 unless |g_k^j| > nu_k,              nu_k  = gamma-quantile of |g_k|            (Eq. 10)
        r^j   = mean of the v_k^j with s^j v_k^j > 0, 0 where there is none                      (Eq. 7)
        step  = beta step_before + (1 - beta) r                                                  (Eq. 11)

    K is the number of clients, g_k in R^D the update of client k, g_k^j its coordinate j, gamma the ``sparsity``,
    beta the server ``momentum`` (0: step = r); the step has the shape [D].

    It fails where honest clients do not concord with a majority, as with very heterogeneous data: all rho_k may be
    0, no sign is elected and r is 0. The paper adds momentum for this.

    Medians are the lower middle value; K rho_k is voted with as an integer, so a tie elects 0 exactly. The variant
    ``released_code`` reproduces the authors' program where it departs from their paper: it clamps the unclipped
    rows, v_k^j = sgn(g_k^j) min(mu^j, |g_k^j|) with the same mu^j, elects with the signs that remain after
    sparsification and keeps |g| >= the quantile.

    The other settings switch parts off, to see what each contributes: ``election`` puts rho_k = 1 (``uniform``), or
    the values themselves (``magnitude``: s^j = sgn(sum_k g_k^j), which one client can win alone) in the place of the
    concordance ratio; ``clip: false`` is tau = infinity, ``clamp: false`` mu = infinity, ``sparsity: 0`` drops the
    smallest magnitude of a row at most, and with ``agree: false`` r^j is the mean of v_1^j, ..., v_K^j, whatever was
    elected.

    >>> rows = torch.tensor([[3.0, -1.0, 0.1], [2.0, -2.0, 0.1], [-3.0, 1.0, 0.1]])
    >>> FedSECA(sparsity=0.4)(rows)    # clients 0 and 1 agree and outvote client 2
    tensor([ 2.5000, -1.0000,  0.0000])
    """

    class Settings(Schema):
        sparsity: float = Field(0.9, ge=0, lt=1, description="gamma, share of each row that is set to zero")
        momentum: float = Field(0.0, ge=0, lt=1, description="beta of the server momentum (0: none)")
        variant: Literal["paper", "released_code"] = Field("paper", description="as published, or as released")
        election: Literal["concordance", "uniform", "magnitude"] = Field(
            "concordance",
            description="what a sign is elected by: concordance ratios; one vote a client; the values themselves",
        )
        clip: bool = Field(True, description="clip each row to the median norm (Eq. 8)")
        clamp: bool = Field(True, description="clamp each coordinate to its median magnitude (Eq. 9)")
        agree: bool = Field(True, description="average the values of the elected sign only (Eq. 7), not all of them")

    settings: Settings
    shardable = True

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._smoothed: Tensor | None = None

    def row_statistics(self) -> Sequence[RowStatistic]:
        found: list[RowStatistic] = ["norms"] if self.settings.clip else []
        return [*found, "sign_agreement"] if self.settings.election == "concordance" else found

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        settings, as_released = self.settings, self.settings.variant == "released_code"
        votes = self._votes(updates)
        factors = clip_factors(updates.row_norms()) if settings.clip else torch.ones(updates.num_rows)
        quantiles = updates.absolute_quantiles(settings.sparsity)

        rules = Rules(as_released, settings.clamp, settings.agree)
        factors_here = factors.to(updates.device, updates.dtype)
        least = least_that_survives(quantiles, factors_here, inclusive=as_released)
        step, tally = updates.map_columns_with_tally(
            vote_and_average, factors_here[:, None], least[:, None], None if votes is None else votes[:, None], rules
        )
        self._report(votes, factors, tally, updates)
        return self._smooth(step)

    def check(self, num_rows: int) -> None:
        if not self.settings.agree and self.settings.election != "concordance":
            text = "aggregator.election has no effect with agree: false, which averages whatever was elected"
            warnings.warn(text, FedsimWarning, stacklevel=2)

    def _votes(self, updates: UpdateMatrix) -> Tensor | None:
        """Each client's votes [K], integers; None if values are summed instead."""
        if self.settings.election == "concordance":
            return concordance_votes(updates.sign_agreement())
        if self.settings.election == "uniform":
            return torch.ones(updates.num_rows, dtype=torch.int64, device=updates.device)
        return None

    def _smooth(self, step: Tensor) -> Tensor:
        """Server momentum without bias correction (Eq. 11)."""
        beta = self.settings.momentum
        if beta == 0:
            return step
        before = torch.zeros_like(step) if self._smoothed is None else self._smoothed
        self._smoothed = beta * before + (1 - beta) * step
        return self._smoothed.clone()

    def _report(self, votes: Tensor | None, factors: Tensor, tally: Tensor, updates: UpdateMatrix) -> None:
        undecided, survived, agreed = tally.split([1, updates.num_rows, updates.num_rows])
        per_client = {"clip_factor": factors, "agreed_share": agreed / survived.clamp(min=1)}
        ratio = None
        if self.settings.election == "concordance" and votes is not None:
            ratio = votes.double() / updates.num_rows
            per_client = {"concordance_ratio": ratio, **per_client}
        self.diagnostics = Diagnostics(
            per_client=per_client,
            scalars={"undecided_share": int(undecided) / updates.num_columns},
            trust=ratio,
        )

    def state_dict(self) -> dict[str, Any]:
        return {} if self._smoothed is None else {"smoothed": self._smoothed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._smoothed = state.get("smoothed")
