"""Fang's attacks: against any rule, against Krum, against the trimmed mean."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.neighbours import krum_scores
from fedsim.updates.order_statistics import sum_rows
from fedsim.updates.random_rows import draw_rows, draw_seed
from fedsim.updates.rounding import TIE

SMALLEST_LAMBDA = 1e-5


FANG = Reference(
    authors="Fang, Cao, Jia and Gong",
    title="Local Model Poisoning Attacks to Byzantine-Robust Federated Learning",
    year=2020,
    venue="USENIX Security",
    url="https://arxiv.org/abs/1911.11815",
)


@attacks.register("fang", FANG)
class Fang(Attack):
    """The honest mean pushed against its own signs; or the rows that Krum or the trimmed mean handles worst.

    With mu [D] the mean of the H honest rows, sgn taken coordinate by coordinate and lambda = ``strength``:

        directed:  x = mu - lambda sgn(mu)
        krum:      x = -lambda sgn(mu), with the first lambda for which Krum selects x

    ``krum`` starts from the original's upper bound on lambda (Theorem 1) and halves it until Krum, with f = B,
    selects a Byzantine row or lambda < 1e-5. ``trimmed_mean`` draws, for each client by itself, every coordinate just
    beyond the honest values: where mu is positive, uniformly in [m/2, m] if the smallest honest value m is positive,
    else in [2m, m]; where mu is negative, mirrored, above the largest; 0 where mu is 0.

    ``krum`` finds no lambda where the honest rows are closer together than x can come to them; ``trimmed_mean`` moves
    a trimmed mean only to the edge of the honest values; in ``directed`` the sign turns only where |mu| < lambda.

    The original has ``krum`` and ``trimmed_mean``, and takes its signs from the change that the global model would
    make without attack; that change is taken to be the honest mean here. For ``krum`` it scatters the other B - 1
    rows in a small ball around x, so that they are not equal; here they are equal, which is closer still.
    ``directed`` is the FedSECA paper's form, without its code's random shift of lambda by up to 0.05.

    >>> honest = torch.tensor([[0.2, -0.4], [0.4, -0.2]])
    >>> Fang(strength=1.0)(AttackView(honest=honest, own=torch.zeros(1, 2)))
    tensor([[-0.7000,  0.7000]])
    """

    class Settings(Schema):
        strength: float = Field(0.1, ge=0, description="lambda, how far every coordinate is pushed (directed only)")
        target: Literal["directed", "krum", "trimmed_mean"] = Field(
            "directed",
            description="form of the attack: directed is the FedSECA paper's, the others are made for one rule",
        )

    settings: Settings
    shardable = True

    def craft(self, view: AttackView) -> Tensor:
        if self.settings.target == "trimmed_mean":
            return beyond_the_honest(view)
        mean = view.honest.mean()
        if self.settings.target == "krum":
            signs = mean.sign()
            strength, selected = lambda_against_krum(view, signs)
            self.diagnostics = {"lambda": strength, "selected": float(selected)}
            return -strength * signs
        return mean - self.settings.strength * mean.sign()


def lambda_against_krum(view: AttackView, signs: Tensor) -> tuple[float, bool]:
    """The lambda for which Krum selects one of B rows -lambda * ``signs`` [D], and whether it does.

    Everything is computed from inner products, after one pass over the honest rows [H, D].
    """
    points = view.honest.extend(signs[None])
    honest, count, byzantine = view.num_honest, view.num_honest + view.num_byzantine, view.num_byzantine
    gram, distances = points.gram().cpu(), points.squared_distances().cpu()[:honest, :honest]
    squares, along, length = gram.diagonal()[:honest], gram[:honest, honest], gram[honest, honest]
    strength, selected = upper_bound(distances, squares, byzantine, view.honest.num_columns), False
    while not selected and strength >= SMALLEST_LAMBDA:
        to_honest = (strength * strength * length + 2 * strength * along + squares).clamp(min=0)
        attacked = torch.zeros(count, count, dtype=torch.float64)
        attacked[:honest, :honest] = distances
        attacked[honest:, :honest] = to_honest
        attacked[:honest, honest:] = to_honest[:, None]
        scores = krum_scores(attacked, byzantine)
        tied = (scores <= scores.min() * (1 + TIE)).nonzero().flatten().tolist()
        selected = min(tied, key=view.facts.client_ids.__getitem__) >= honest
        strength = strength if selected else strength / 2
    return strength, selected


def upper_bound(squared_distances: Tensor, squares: Tensor, byzantine: int, columns: int) -> float:
    """The largest lambda that Krum could still select (Fang et al. 2020, Theorem 1).

    Args:
        squared_distances: of the honest rows to each other [H, H].
        squares: their squared lengths [H]: distances to the zero update, which is the global model.
        byzantine: B.
        columns: D.

    >>> two = torch.tensor([[0.0, 4.0], [4.0, 0.0]]).double()
    >>> upper_bound(two, torch.tensor([1.0, 9.0]).double(), byzantine=1, columns=4)    # sqrt(4 / 4) + 3 / 2
    2.5
    """
    honest = len(squares)
    neighbours = min(max(1, honest - 2), honest - 1)
    nearest = squared_distances.clone().fill_diagonal_(torch.inf).sort(dim=1).values[:, :neighbours].sum(1)
    spare = max(1, honest - byzantine - 1)
    return float((nearest.min() / (spare * columns)).sqrt() + (squares.max() / columns).sqrt())


def beyond_the_honest(view: AttackView) -> Tensor:
    """Rows [B, D] that are drawn beyond the honest values of each coordinate, on the side that hurts."""

    def edges(block: Tensor) -> Tensor:
        mean, low, high = sum_rows(block), block.amin(0), block.amax(0)
        near = torch.where(mean > 0, low, high)
        # Towards zero half of the edge is left, away from zero it doubles.
        far = torch.where((mean > 0) == (near > 0), near / 2, near * 2)
        return torch.where(mean == 0, 0.0, torch.stack([near, far]))

    near, far = view.honest.map_columns(edges, height=2)
    shares = draw_rows(draw_seed(view.facts.randomness()), view.own_ids, view.own, _uniform)
    return torch.lerp(near, far, shares)


def _uniform(count: int, generator: torch.Generator) -> Tensor:
    return torch.rand(count, generator=generator)
