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
    """Own update times a factor, which may be negative: exploding steps along an honest direction or against it.

    Byzantine client b of the B does its local work and sends

        x_b = factor g_b,

    g_b [D] being its own update. It knows nothing of the others. A plain mean follows it without bound, and so does a
    rule that elects signs without limiting magnitudes, if the factor is positive: the direction is an honest one.
    Clipping norms, the coordinate-wise median and distance filters bound it.

    The FedSECA paper names the attack and gives no formula (Section 2). In its released code the client multiplies
    its weights w_b by the factor, not its update, so that its row is factor g_b - (factor - 1) w with w the global
    weights. Here the update alone is multiplied, since the text says that gradients are resized.

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
