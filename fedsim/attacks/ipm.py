"""Inner product manipulation."""

from pydantic import Field
from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks
from fedsim.settings import Schema


@attacks.register("ipm")
class InnerProductManipulation(Attack):
    """Minus epsilon times the honest mean."""

    class Settings(Schema):
        epsilon: float = Field(1.3, description="length of the row in honest means")

    settings: Settings

    def craft(self, view: AttackView) -> Tensor:
        return -self.settings.epsilon * view.honest.mean()
