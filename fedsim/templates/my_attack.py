"""An attack with a memory.

`fedsim --plugin my_attack.py attack.name=my_attack attack.num_byzantine=3 attack.strength=3`
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field
from torch import Tensor

from fedsim.attacks import Attack, AttackView, Schema, attacks


@attacks.register("my_attack")
class MyAttack(Attack):
    """Back along the way that training has come.

        x_t = -strength m_t,    m_t = fade m_(t-1) + (1 - fade) mu_t

    x_t is the row that all Byzantine clients send in round t, mu_t the mean of the honest rows.
    """

    class Settings(Schema):
        strength: float = Field(2.0, gt=0, description="how much longer than the running mean m a row is")
        fade: float = Field(0.5, ge=0, lt=1, description="share of earlier rounds in m")

    settings: Settings

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._mean: Tensor | None = None

    def craft(self, view: AttackView) -> Tensor:
        mean, fade = view.honest.mean(), self.settings.fade
        self._mean = mean if self._mean is None else fade * self._mean + (1 - fade) * mean
        self.diagnostics = {"mean_norm": float(self._mean.norm())}  # goes into metrics.jsonl
        return -self.settings.strength * self._mean  # [D], what all Byzantine clients send; or [B, D]

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self._mean}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._mean = state["mean"]
