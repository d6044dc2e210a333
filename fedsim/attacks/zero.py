"""Zero rows."""

import torch
from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks


@attacks.register("zero")
class Zero(Attack):
    """Nothing is sent: all coordinates are zero.

    >>> Zero()(AttackView(honest=torch.ones(2, 2), own=torch.ones(1, 2)))
    tensor([[0., 0.]])
    """

    sees_honest = False

    def craft(self, view: AttackView) -> Tensor:
        return torch.zeros(view.own.num_columns, dtype=view.own.dtype, device=view.own.device)
