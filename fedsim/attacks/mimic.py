"""Mimic: all Byzantine clients copy the honest one whose updates stand out along one direction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks
from fedsim.random_columns import draw_rows, draw_seed, normal
from fedsim.settings import Schema
from fedsim.update_matrix import UpdateMatrix

TIE = 1e-12
"""Products closer than this, relatively, differ by the rounding of a float64 sum only."""


@attacks.register(
    "mimic", paper="Karimireddy et al. 2022, Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing"
)
class Mimic(Attack):
    """All copy one honest client, the one furthest along the direction in which honest updates vary most.

    The direction z is learnt by power iteration during the warm-up. With m the mean of all honest updates seen and
    q = sum_k ((g_k - m) . z) (g_k - m): in round 0, z = q / ||q|| from a random z; in round t, z becomes
    t z + q / ||q||, normalised. The target is the client of the largest g_k . z, anew in every round of the
    warm-up and for good after it; if it is absent later, another one is chosen by z. If q is zero (a single honest
    client, or equal ones), z stays as it is. Equal products: the lowest id [ours].

    State: m and z, [D] each. The buffers sent are those of the client that is copied.

    >>> honest = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 9.0]])
    >>> attack = Mimic()
    >>> rows = attack(AttackView(honest=honest, own=torch.zeros(2, 2)))
    >>> attack.diagnostics["target"] in (0.0, 2.0), rows[0].equal(rows[1])
    (True, True)
    """

    class Settings(Schema):
        warmup_rounds: int = Field(5, ge=1, description="rounds in which the direction is learnt")

    settings: Settings

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
        self.diagnostics = {"target": float(self.target or 0)}
        return view.honest.row(view.honest_ids.index(self.target)).clone()

    def _learn(self, view: AttackView) -> None:
        """Update m and z by the honest updates of this round."""
        t, mean = self._rounds, view.honest.mean()
        if self._mean is None or self._direction is None:
            self._mean = mean
            random = draw_rows(draw_seed(view.facts.randomness()), [0], view.honest, normal)[0]
            self._direction = random / torch.linalg.vector_norm(random)
        else:
            self._mean = (t * self._mean + mean) / (t + 1)
        products = products_with(view.honest, self._direction, minus=self._mean)
        # q = sum_k p_k g_k - (sum_k p_k) m
        weights = torch.cat([products, -products.sum()[None]])
        q = view.honest.extend(self._mean[None]).weighted_sum(weights)
        length = torch.linalg.vector_norm(q, dtype=torch.float64)
        if length > 0:
            summed = t * self._direction + (q / length).to(q.dtype)
            self._direction = summed / torch.linalg.vector_norm(summed)

    def _furthest(self, view: AttackView) -> int:
        """Id of the honest client with the largest g_k . z."""
        assert self._direction is not None
        products = products_with(view.honest, self._direction)
        limit = float(products.max()) - TIE * float(products.abs().max())
        return min(client for client, p in zip(view.honest_ids, products.tolist(), strict=True) if p >= limit)

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
    """Copies the buffers of the client that the rows copy."""

    name = "mimic"

    def __init__(self, rows: Mimic) -> None:
        super().__init__()
        self._rows = rows

    def craft(self, view: AttackView) -> Tensor:
        if self._rows.target not in view.honest_ids:  # its buffers are not finite
            return view.honest.mean()
        return view.honest.row(view.honest_ids.index(self._rows.target)).clone()


def products_with(updates: UpdateMatrix, direction: Tensor, minus: Tensor | None = None) -> Tensor:
    """(g_k - m) . z for each row [K], float64, on the CPU.

    Args:
        direction: z [D].
        minus: m [D]; zero if left out.

    >>> rows = UpdateMatrix(torch.tensor([[1.0, 2.0], [0.0, 5.0]]))
    >>> products_with(rows, torch.tensor([1.0, 1.0]), minus=torch.tensor([0.0, 2.0]))
    tensor([1., 3.], dtype=torch.float64)
    """
    below = torch.stack([torch.zeros_like(direction) if minus is None else minus, direction])

    def products(block: Tensor) -> Tensor:
        wide = block.double()
        return (wide[:-2] - wide[-2]) @ wide[-1]

    return updates.extend(below).sum_over_blocks(products).cpu()
