"""Scaling."""

from typing import Any, Literal

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

    The FedSECA paper names the attack and says that gradients are resized (Section 2), hence the default
    ``of: update``. In its released code the client multiplies its weights w_b = w - g_b instead, w being the global
    ones, so that its row is

        x_b = w - factor w_b = factor g_b - (factor - 1) w,

    and a server that subtracts it blows the weights up, whatever the client has learned: ``of: weights``.

    >>> import torch
    >>> from fedsim.updates.context import RoundContext
    >>> own, w = torch.tensor([[1.0, 3.0]]), torch.tensor([1.0, -1.0])
    >>> view = AttackView(honest=torch.ones(2, 2), own=own, context=RoundContext(client_ids=(0, 1, 2), weights=w))
    >>> Scaling(factor=-2.0)(view)
    tensor([[-2., -6.]])
    >>> Scaling(factor=10.0, of="weights")(view)
    tensor([[ 1., 39.]])
    """

    class Settings(Schema):
        factor: float = Field(10.0, description="what the own update, or the own weights, are multiplied by")
        of: Literal["update", "weights"] = Field(
            "update", description="what is multiplied; weights: as in the authors' code"
        )

    settings: Settings
    trains = True
    sees_honest = False
    shardable = True

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.needs_weights = self.settings.of == "weights"

    def craft(self, view: AttackView) -> Tensor:
        factor, weights = self.settings.factor, view.facts.weights
        scaled = factor * view.own.local_rows()
        if self.settings.of == "update":
            return scaled
        assert weights is not None  # an attack that needs them is never called without
        return scaled - (factor - 1) * weights
