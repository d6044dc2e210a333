"""PoisonedFL: one direction for the whole run, as long as the server lets it pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.random_rows import draw_rows, draw_seed

SHRINK, LEAST_SCALE, CONFIDENCE = 0.7, 0.5, 0.99


@attacks.register(
    "poisonedfl",
    Reference(
        authors="Xie, Fang and Gong",
        title="Model Poisoning Attacks to Federated Learning via Multi-Round Consistency",
        year=2025,
        venue="CVPR",
        url="https://arxiv.org/abs/2404.15611",
    ),
)
class PoisonedFL(Attack):
    """Rows whose signs are the same in every round, of a size that follows the server's last step; sees no row.

    The signs s in {-1, 1}^D are drawn once. With a [D] the server's last step and m [D] the last malicious row, all B
    Byzantine clients send

        v = | a - (||a|| / ||m||) m |,    x = c ||a|| (v / ||v||) s,

    absolute value and the product with s taken coordinate by coordinate; v is what the last step holds beside the
    attack's own row. Every ``period`` rounds the attack checks whether it gets through: if the model has moved along
    s in fewer coordinates than the 99 % point of the binomial distribution (D, 1/2), c shrinks to 0.7 c, unless that
    is below 0.5. It has moved along s in a coordinate where sgn(w_(t-period) - w_t), the sign of the sum of the
    server's steps, equals s: updates point as gradients do here.

    It knows nothing of a round but the global model. Signs that do not change for a whole run, and rows that agree in
    all of them, are what a defence with a memory or one that compares signs may look for.

    Without a last step, or where a or v is zero, zero is sent and m stays; before the first malicious row v = |a| and
    no check shrinks c; model buffers are left alone [ours].

    State: the sum of the steps since the last check and m, [D] each. The sum grows in :meth:`observe`; for a caller
    who leaves that out, c never changes.

    >>> attack = PoisonedFL(scale=2.0)
    >>> step = torch.tensor([3.0, -4.0])
    >>> view = AttackView(honest=torch.ones(1, 2), own=torch.zeros(1, 2), context=RoundContext.of(2))
    >>> attack(view).any()
    tensor(False)
    >>> later = RoundContext(round=1, client_ids=(0, 1), last_step=step)
    >>> view = AttackView(honest=torch.ones(1, 2), own=torch.zeros(1, 2), context=later)
    >>> attack(view).abs()    # 2 * 5 * (3, 4) / 5
    tensor([[6., 8.]])
    """

    class Settings(Schema):
        scale: float = Field(8.0, gt=0, description="c, norm of the row as a multiple of the last step's")
        period: int = Field(50, ge=1, description="rounds between checks of whether the model follows")

    settings: Settings
    sees_honest = False
    shardable = True

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._scale = self.settings.scale
        self._sign_seed: int | None = None
        self._signs: Tensor | None = None
        self._last_row: Tensor | None = None
        self._moved: Tensor | None = None
        self._steps = 0
        self._agreement: float | None = None

    def observe(self, context: RoundContext) -> None:
        """Add the last step to what the model has moved since the last check; check when it is time."""
        self._choose_signs(context)
        if context.last_step is None:
            return
        self._moved = context.last_step.clone() if self._moved is None else self._moved + context.last_step
        self._steps += 1
        if self._steps == self.settings.period:
            if self._last_row is not None:
                self._check(context.matrix(self._moved[None]))
            self._moved, self._steps = None, 0

    def _check(self, moved: UpdateMatrix) -> None:
        from scipy.stats import binom  # heavy

        both = moved.extend(self._signs_like(moved)[None])
        agreeing = int(both.sum_over_blocks(lambda block: (block[0].sign() == block[1]).sum()))
        self._agreement = agreeing / moved.num_columns
        smaller = SHRINK * self._scale
        if agreeing < binom.ppf(CONFIDENCE, moved.num_columns, 0.5) and smaller >= LEAST_SCALE:
            self._scale = smaller

    def _choose_signs(self, context: RoundContext) -> None:
        if self._sign_seed is None:
            self._sign_seed = draw_seed(context.randomness())

    def _signs_like(self, rows: UpdateMatrix) -> Tensor:
        """s [D]."""
        if self._signs is None:
            assert self._sign_seed is not None
            self._signs = draw_rows(self._sign_seed, [0], rows, _coin)[0]
        return self._signs

    def craft(self, view: AttackView) -> Tensor:
        self._choose_signs(view.facts)
        signs, last_step = self._signs_like(view.own), view.facts.last_step
        self.diagnostics = {"c": self._scale}
        if self._agreement is not None:
            self.diagnostics["agreement"] = self._agreement
        row = torch.zeros_like(signs) if last_step is None else self._row(view.own, last_step, signs)
        if bool(view.own.length(row)):
            self._last_row = row.clone()
        return row

    def _row(self, own: UpdateMatrix, last_step: Tensor, signs: Tensor) -> Tensor:
        length = own.length(last_step)
        v = last_step
        if self._last_row is not None:
            v = torch.sub(last_step, self._last_row, alpha=float(length / own.length(self._last_row)))
        v_length = own.length(v)
        if v_length == 0:
            return torch.zeros_like(signs)
        return v.abs().mul_(float(self._scale * length / v_length)).mul_(signs)

    def for_buffers(self) -> Attack:
        return attacks.build("zero")

    def state_dict(self) -> dict[str, Any]:
        return {
            "scale": self._scale,
            "sign_seed": self._sign_seed,
            "last_row": self._last_row,
            "moved": self._moved,
            "steps": self._steps,
            "agreement": self._agreement,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._scale, self._sign_seed, self._signs = state["scale"], state["sign_seed"], None
        self._last_row, self._moved, self._steps = state["last_row"], state["moved"], state["steps"]
        self._agreement = state["agreement"]


def _coin(count: int, generator: torch.Generator) -> Tensor:
    """-1 or 1, evenly [n]."""
    return torch.randint(2, (count,), generator=generator).mul_(2).sub_(1).float()
