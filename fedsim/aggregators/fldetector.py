"""FLDetector: clients whose updates do not follow from their earlier ones."""

from collections.abc import Mapping, Sequence
from math import fsum
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import Aggregator, Diagnostics, aggregators
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.rounding import TIE

REFERENCES = 10
"""How many uniform samples the gap statistic compares with."""

FEWEST = 3
"""Scores below which the gap statistic has no choice: it tries up to K - 1 clusters."""


def hessian_times(updates: UpdateMatrix, vector: Tensor, moves: Sequence[Tensor], bends: Sequence[Tensor]) -> Tensor:
    """H times ``vector`` [D], float64, H the L-BFGS approximation from pairs, in its compact form.

    Args:
        updates: over whose columns the vectors are.
        moves: differences of the weights, oldest first, none of them zero.
        bends: differences of the gradient that go with them. Without a pair H is zero.

    >>> step, bend = torch.tensor([2.0, 0.0]), torch.tensor([6.0, 0.0])
    >>> updates = UpdateMatrix(torch.zeros(1, 2))
    >>> hessian_times(updates, torch.tensor([1.0, 1.0]), [step], [bend])    # the curvature seen is 6/2
    tensor([3., 3.], dtype=torch.float64)
    """
    pairs = len(moves)
    if pairs == 0:
        return torch.zeros_like(vector, dtype=torch.float64)
    vectors = [*moves, *bends, vector]
    gram = updates.sum_over(vectors, _products).cpu()
    # Each pair is scaled to a move of length 1, which leaves H as it is and the system well conditioned.
    scale = gram.diagonal()[:pairs].rsqrt()
    scales = torch.cat([scale, scale, torch.ones_like(scale[:1])])
    of_moves, of_bends, _ = (gram * scales * scales[:, None]).split([pairs, pairs, 1])
    move_move, move_bend, move_vector = of_moves.split([pairs, pairs, 1], dim=1)
    sigma = move_bend[-1, -1]
    lower = move_bend.tril(-1)
    system = torch.cat(
        [torch.cat([sigma * move_move, lower], dim=1), torch.cat([lower.T, -move_bend.diagonal().diag()], dim=1)]
    )
    solution = torch.linalg.pinv(system, hermitian=True) @ torch.cat([sigma * move_vector, of_bends[:, -1:]])
    shares = scales[:-1] * torch.cat([sigma * solution[:pairs], solution[pairs:]]).flatten()
    weights = torch.cat([-shares, sigma[None]]).to(vector.device)
    product = torch.empty_like(vector, dtype=torch.float64)
    for piece, *block in zip(*map(updates.split, [product, *vectors]), strict=True):
        piece.copy_(weights @ torch.stack(block).double())
    return product


def _products(*vectors: Tensor) -> Tensor:
    """Inner products [n, n] of each two of n vectors [b], float64."""
    block = torch.stack(vectors).double()
    return block @ block.T


def _squared_errors(change: Tensor, *vectors: Tensor) -> Tensor:
    """||before + change - now||^2 [n], in float64; the vectors [b] are n of now, then n of before."""
    now, before = vectors[: len(vectors) // 2], vectors[len(vectors) // 2 :]
    return torch.stack([_length_of_error(*both, change) for both in zip(now, before, strict=True)]).square_()


def _length_of_error(now: Tensor, before: Tensor, change: Tensor) -> Tensor:
    return torch.linalg.vector_norm(now.to(torch.float64, copy=True).sub_(before).sub_(change))


def _parameters(updates: UpdateMatrix, context: RoundContext) -> UpdateMatrix:
    """The columns of parameters, which come first; buffers behind them follow no gradient."""
    size = updates.num_columns if context.layout is None else context.layout.size
    return updates if size == updates.num_columns else updates.columns([(0, size)])


def _scatter(values: Tensor) -> Tensor:
    """Sum of the squared deviations from the mean of each row [R, n], as [R]."""
    return (values - values.mean(1, keepdim=True)).square().sum(1)


def _split_costs(ordered: Tensor) -> Tensor:
    """What exact 2-means minimises, for sorted rows [R, n] cut after 1, 2, ... n-1 values, as [R, n-1]."""
    cuts = range(1, ordered.shape[1])
    return torch.stack([_scatter(ordered[:, :cut]) + _scatter(ordered[:, cut:]) for cut in cuts], dim=1)


def suspicious(scores: Tensor, generator: torch.Generator) -> list[bool]:
    """Which of n scores lie in the upper of two clusters, if the gap statistic sees more than one.

    The statistic takes the smallest k with Gap(k) >= Gap(k+1) - s_(k+1). All that matters is whether that
    is k = 1, so only Gap(1) and Gap(2) are needed. Both clusterings are exact, as points on a line allow.

    >>> suspicious(torch.tensor([0.10, 0.11, 0.12, 0.90, 0.10, 0.11]).double(), torch.Generator().manual_seed(0))
    [False, False, False, True, False, False]
    """
    nobody = [False] * len(scores)
    if len(scores) < FEWEST or float(scores.max() - scores.min()) <= TIE * float(scores.max()):
        return nobody
    scaled = (scores - scores.min()) / (scores.max() - scores.min())
    shape = (REFERENCES, len(scores))
    references = torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device).cpu()
    ordered = torch.cat([scaled[None], references]).sort(dim=1).values
    costs = _split_costs(ordered)
    one, two = _scatter(ordered).log(), costs.amin(1).log()
    error = (1 + 1 / REFERENCES) ** 0.5 * two[1:].std(correction=0)
    if one[1:].mean() - one[0] >= two[1:].mean() - two[0] - error:
        return nobody
    # Of cuts that are equally good up to rounding the last one: it accuses the fewest.
    cut = int((costs[0] <= costs[0].min() * (1 + TIE)).nonzero().max()) + 1
    return (scaled >= ordered[0, cut]).tolist()


@aggregators.register(
    "fldetector",
    Reference(
        authors="Zhang, Cao, Jia and Gong",
        title="FLDetector: Defending Federated Learning Against Model Poisoning Attacks "
        "via Detecting Malicious Clients",
        year=2022,
        venue="KDD",
        url="https://arxiv.org/abs/2207.09209",
    ),
)
class FLDetector(Aggregator):
    """Mean of the clients whose updates follow from their earlier ones.

        p_k = g_k(t-1) + H (w(t) - w(t-1)),    d_k = ||p_k - g_k(t)|| / sum_l ||p_l - g_l(t)||
        score_k = mean of the last N of its d_k,    step = mean of the g_k(t) of the clients not suspected

    g_k(t) in R^D is the update of client k in round t, w the weights, N the ``window``; H is the L-BFGS Hessian of
    the last N pairs of differences of w and of the aggregate. If the gap statistic sees more than one cluster of
    scores, the upper of two is suspected. The step has the shape [D].

    It fails against updates that are wrong in the same way every round, which predict themselves, and in the first
    rounds: before there are N scores it is the plain mean.

    The original stops training at the first detection; here suspects are left out of this round's mean, so that a
    run goes on. The gap statistic averages logarithms, its code takes the logarithm of the average; 2-means is
    exact, as points on a line allow. w(t) - w(t-1) is minus the server's last step, over the coordinates that it
    has. Where the original is silent or assumes that every client is there in every round [ours]: without a pair H
    is 0; a pair of no move or without a finite difference is skipped; of a client that was absent, the last update
    it sent is used; a client with fewer than N scores is not judged and stays in.

    Memory: one [D] of each client ever seen, the last aggregate and at most 2N [D] of pairs.

    >>> detector = FLDetector(window=1)
    >>> first = detector(torch.tensor([[1.0], [1.0], [1.0], [1.0], [1.0]]))
    >>> after = RoundContext(round=1, client_ids=(0, 1, 2, 3, 4), last_step=first)
    >>> detector(torch.tensor([[1.1], [1.1], [1.1], [1.1], [9.0]]), after)    # client 4 has jumped
    tensor([1.1000])
    """

    class Settings(Schema):
        window: int = Field(10, ge=1, description="N, rounds that a score averages and most pairs that L-BFGS uses")

    settings: Settings
    shardable = True

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._rows: dict[int, Tensor] = {}
        self._shares: dict[int, list[float]] = {}
        self._moves: list[Tensor] = []
        self._bends: list[Tensor] = []
        self._aggregate: Tensor | None = None

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        parameters = _parameters(updates, context)
        self._extend_scores(self._prediction_errors(parameters, context))
        suspects = self._suspects(context)
        trust = torch.tensor([float(client not in suspects) for client in context.client_ids], dtype=torch.float64)
        step = updates.weighted_sum(trust / trust.sum()) if suspects else updates.mean()
        self._remember(parameters, step[: parameters.local_columns], context)
        self._report(trust, context)
        return step

    def _prediction_errors(self, updates: UpdateMatrix, context: RoundContext) -> dict[int, float]:
        """Distance of each client's update from its prediction, of the clients that sent one before."""
        known = [row for row in context.in_id_order() if context.client_ids[row] in self._rows]
        if context.last_step is None or not known:
            return {}
        move = -context.last_step[: updates.local_columns]
        change = hessian_times(updates, move, self._moves, self._bends)
        clients = [context.client_ids[row] for row in known]
        rows, before = [updates.row(row) for row in known], [self._rows[client] for client in clients]
        squares = updates.sum_over([change, *rows, *before], _squared_errors)
        return dict(zip(clients, squares.sqrt().tolist(), strict=True))

    def _extend_scores(self, errors: Mapping[int, float]) -> None:
        total = fsum(errors.values())
        for client, error in errors.items():
            share = error / total if total > 0 else 1 / len(errors)
            self._shares[client] = [*self._shares.get(client, []), share][-self.settings.window :]

    def _suspects(self, context: RoundContext) -> set[int]:
        complete = self.settings.window
        judged = [client for client in sorted(context.client_ids) if len(self._shares.get(client, [])) == complete]
        scores = torch.tensor([self._score(client) for client in judged], dtype=torch.float64)
        upper = suspicious(scores, context.randomness())
        return {client for client, high in zip(judged, upper, strict=True) if high}

    def _score(self, client: int) -> float:
        shares = self._shares.get(client, [])
        return fsum(shares) / max(1, len(shares))

    def _remember(self, updates: UpdateMatrix, step: Tensor, context: RoundContext) -> None:
        if context.last_step is not None and self._aggregate is not None:
            move = -context.last_step[: updates.local_columns]
            bend = step - self._aggregate
            lengths = torch.stack([updates.length(move), updates.length(bend)])
            if bool((lengths[0] > 0) & lengths[1].isfinite()):
                self._moves = [*self._moves, move][-self.settings.window :]
                self._bends = [*self._bends, bend][-self.settings.window :]
        self._aggregate = step.clone()
        for row, client in enumerate(context.client_ids):
            self._rows[client] = updates.row(row).clone()

    def _report(self, trust: Tensor, context: RoundContext) -> None:
        scores = torch.tensor([self._score(client) for client in context.client_ids], dtype=torch.float64)
        self.diagnostics = Diagnostics(
            per_client={"score": scores, "selected": trust},
            scalars={"left_out": float((trust == 0).sum())},
            trust=trust,
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "rows": dict(self._rows),
            "shares": dict(self._shares),
            "moves": self._moves,
            "bends": self._bends,
            "aggregate": self._aggregate,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._rows, self._shares = dict(state["rows"]), dict(state["shares"])
        self._moves, self._bends = list(state["moves"]), list(state["bends"])
        self._aggregate = state["aggregate"]
