"""Sign flipping."""

from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks
from fedsim.registry import Reference


@attacks.register(
    "sign_flip",
    Reference(
        authors="Li et al.",
        title="RSA: Byzantine-Robust Stochastic Aggregation Methods for Distributed Learning from "
        "Heterogeneous Datasets",
        year=2019,
        venue="AAAI",
        url="https://arxiv.org/abs/1811.03761",
    ),
)
class SignFlip(Attack):
    """Minus the own update.

    >>> import torch
    >>> SignFlip()(AttackView(honest=torch.ones(2, 2), own=torch.tensor([[1.0, -3.0]])))
    tensor([[-1.,  3.]])
    """

    sees_honest = False
    trains = True

    def craft(self, view: AttackView) -> Tensor:
        return -view.own.tensor()
