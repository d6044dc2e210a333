"""Fang's directed deviation."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks
from fedsim.settings import Schema


@attacks.register("fang", paper="Fang et al. 2020, Local Model Poisoning Attacks to Byzantine-Robust FL")
class Fang(Attack):
    """The honest mean, pushed against its own signs: mean - strength * sgn(mean).

    >>> import torch
    >>> honest = torch.tensor([[0.2, -0.4], [0.4, -0.2]])
    >>> Fang(strength=1.0)(AttackView(honest=honest, own=torch.zeros(1, 2)))
    tensor([[-0.7000,  0.7000]])
    """

    class Settings(Schema):
        strength: float = Field(0.1, ge=0, description="lambda, how far every coordinate is pushed")
        target: Literal["directed"] = Field("directed", description="form of the attack; directed is the paper's")

    settings: Settings

    def craft(self, view: AttackView) -> Tensor:
        mean = view.honest.mean()
        return mean - self.settings.strength * mean.sign()
