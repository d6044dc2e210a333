"""Mimic: all Byzantine clients copy the honest one whose updates stand out along one direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.random_rows import draw_rows, draw_seed, normal
from fedsim.updates.rounding import TIE


@attacks.register(
    "mimic",
    Reference(
        authors="Karimireddy, He and Jaggi",
        title="Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing",
        year=2022,
        venue="ICLR",
        url="https://arxiv.org/abs/2006.09365",
    ),
)
class Mimic(Attack):
    """All Byzantine clients copy one honest client, the furthest along the direction in which honest rows vary most.

    The direction z [D] is learnt by power iteration over the first ``warmup_rounds`` rounds in which the attack acts.
    With g_k the honest row of client k, mu_t the honest mean of round t and m the mean of mu_0, ..., mu_t:

        q = sum_k ((g_k - m) . z) (g_k - m)
        z = q / ||q||                         in round 0, from a random z ~ N(0, I)
        z = (t z + q / ||q||), normalised     in round t of the warm-up

    The target is the client of the largest g_k . z, chosen again in every round of the warm-up and fixed after it.
    The copy is an honest update in every respect, so no filter of outliers can tell it; it only over-weights one
    client. With identically distributed data that does little harm: the attack needs heterogeneous clients.
    Pre-aggregation by bucketing, which its authors propose, mixes the copies with other rows.

    The original assumes that every client is there in every round. Here, if the target is absent later, z chooses
    another one, for good again; where q is zero (a single honest client, equal rows) z stays as it is; of equal
    products the lowest id wins [ours]. The FedSECA authors' code applies the same steps elementwise to the clients'
    weights.

    State: m and z, [D] each. The model buffers sent are those of the client that is copied.

    >>> honest = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 9.0]])
    >>> attack = Mimic()
    >>> rows = attack(AttackView(honest=honest, own=torch.zeros(2, 2)))
    >>> attack.diagnostics["target"] in (0.0, 2.0), rows[0].equal(rows[1])
    (True, True)
    """

    class Settings(Schema):
        warmup_rounds: int = Field(5, ge=1, description="rounds in which the direction is learnt")

    settings: Settings
    shardable = True

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._mean: Tensor | None = None
        self._direction: Tensor | None = None
        self._rounds = 0
        self.target: int | None = None

    def craft(self, view: AttackView) -> Tensor:
        learning = self._rounds < self.settings.warmup_rounds
        if learning:
            self._learn(view)
        if learning or self.target not in view.honest_ids:
            self.target = self._furthest(view)
        self._rounds += 1
        row = view.honest_ids.index(self.target)
        self.diagnostics = {"target": float(view.honest_ids[row])}
        return view.honest.row(row).clone()

    def _learn(self, view: AttackView) -> None:
        """Update m and z by the honest rows of this round."""
        t, mean = self._rounds, view.honest.mean()
        if self._mean is None or self._direction is None:
            self._mean = mean
            drawn = draw_rows(draw_seed(view.facts.randomness()), [0], view.honest, normal)[0]
            self._direction = _normalise(view.honest, drawn)
        else:
            self._mean = (t * self._mean + mean) / (t + 1)
        products = self._products(view.honest)
        largest = products.abs().sum()
        if largest == 0:
            return
        shares = products / largest  # or q could leave the range of float32
        weights = torch.cat([shares, -shares.sum()[None]])
        q = view.honest.extend(self._mean[None]).weighted_sum(weights)
        if bool(view.honest.length(q)):
            moved = _normalise(view.honest, q).add_(self._direction, alpha=t)
            self._direction = _normalise(view.honest, moved)

    def _furthest(self, view: AttackView) -> int:
        """Id of the honest client with the largest g_k . z."""
        products = self._products(view.honest)
        rounding = TIE * view.honest.row_norms().cpu()
        best = products.argmax()
        level = (products + rounding >= products[best] - rounding[best]).tolist()
        return min(client for client, tied in zip(view.honest_ids, level, strict=True) if tied)

    def _products(self, rows: UpdateMatrix) -> Tensor:
        """(g_k - m) . z of each row [K], float64, on the CPU; the order of g_k . z, as m . z is the same for all."""
        assert self._mean is not None
        assert self._direction is not None

        def products(block: Tensor) -> Tensor:
            wide = block.double()
            return (wide[:-2] - wide[-2]) @ wide[-1]

        return rows.extend(torch.stack([self._mean, self._direction])).sum_over_blocks(products).cpu()

    def for_buffers(self) -> Attack:
        return MimicBuffers(self)

    def state_dict(self) -> dict[str, Any]:
        return {
            "mean": self._mean,
            "direction": self._direction,
            "rounds": self._rounds,
            "target": self.target,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._mean, self._direction = state["mean"], state["direction"]
        self._rounds, self.target = state["rounds"], state["target"]


class MimicBuffers(Attack):
    """Copies the buffers of the client whose rows are copied.

    If those are not among the honest ones (they contain NaN or infinity), the mean is sent [ours].
    """

    name = "mimic"
    shardable = True

    def __init__(self, rows: Mimic) -> None:
        super().__init__()
        self._rows = rows

    def craft(self, view: AttackView) -> Tensor:
        if self._rows.target not in view.honest_ids:
            return view.honest.mean()
        return view.honest.row(view.honest_ids.index(self._rows.target)).clone()


def _normalise(updates: UpdateMatrix, vector: Tensor) -> Tensor:
    """Bring a vector over the columns to length 1, in place."""
    return vector.div_(float(updates.length(vector)))
