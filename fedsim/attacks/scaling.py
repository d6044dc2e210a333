"""Scaling."""

from pydantic import Field
from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks
from fedsim.settings import Schema


@attacks.register("scaling")
class Scaling(Attack):
    """Own update times a factor, which may be negative.

    >>> import torch
    >>> Scaling(factor=-2.0)(AttackView(honest=torch.ones(2, 2), own=torch.tensor([[1.0, 3.0]])))
    tensor([[-2., -6.]])
    """

    class Settings(Schema):
        factor: float = Field(10.0, description="what the own update is multiplied by")

    settings: Settings
    trains = True
    sees_honest = False

    def craft(self, view: AttackView) -> Tensor:
        return self.settings.factor * view.own.tensor()
