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
    """Minus epsilon times the honest mean, so that the aggregate has a small or negative inner product with it.

    All B Byzantine clients send

        x = -epsilon mu,

    mu [D] being the mean of the H honest rows. The plain mean of all K = H + B rows is then ((H - epsilon B) / K) mu:
    it is shortened for epsilon < H / B and reversed beyond.

    The paper proves that the coordinate-wise median and Krum can be carried there while honest rows vary much
    compared with the length of mu, as they do near convergence: x then lies among them. A large epsilon gives the row
    an unusual norm, and every epsilon > 0 the direction opposite to the mean, so that a rule which compares norms or
    directions has something to see.

    The formula is the original's; the FedSECA authors' code takes mu over all K clean rows and shifts epsilon by up
    to 0.05 at random, which is left out here so that the row is exactly the formula's.

    >>> import torch
    >>> honest = torch.tensor([[1.0, 2.0], [3.0, 2.0]])
    >>> InnerProductManipulation(epsilon=0.5)(AttackView(honest=honest, own=torch.zeros(1, 2)))
    tensor([[-1., -1.]])
    """

    class Settings(Schema):
        epsilon: float = Field(1.3, description="length of the row in honest means")

    settings: Settings
    shardable = True

    def craft(self, view: AttackView) -> Tensor:
        return -self.settings.epsilon * view.honest.mean()
