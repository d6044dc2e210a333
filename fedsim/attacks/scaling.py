"""Scaling."""

from pydantic import Field
from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks
from fedsim.registry import Reference
from fedsim.settings import Schema


@attacks.register(
    "scaling",
    Reference(
        authors="Benjamin, Asokan, Yaqub and Nandakumar",
        title="FedSECA: Sign Election and Coordinate-wise Aggregation of Gradients for Byzantine "
        "Tolerant Federated Learning",
        year=2025,
        venue="CVPR Workshops (FedVision)",
        url="https://arxiv.org/abs/2411.03861",
    ),
)
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
