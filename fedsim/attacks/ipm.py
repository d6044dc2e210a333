"""Inner product manipulation."""

from pydantic import Field
from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks
from fedsim.registry import Reference
from fedsim.settings import Schema


@attacks.register(
    "ipm",
    Reference(
        authors="Xie, Koyejo and Gupta",
        title="Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product Manipulation",
        year=2019,
        venue="UAI",
        url="https://arxiv.org/abs/1903.03936",
    ),
)
class InnerProductManipulation(Attack):
    """Minus epsilon times the honest mean."""

    class Settings(Schema):
        epsilon: float = Field(1.3, description="length of the row in honest means")

    settings: Settings

    def craft(self, view: AttackView) -> Tensor:
        return -self.settings.epsilon * view.honest.mean()
