"""Zero rows."""

import torch
from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks


@attacks.register("zero")
class Zero(Attack):
    """Nothing is sent: all coordinates are zero.

    All B Byzantine clients send x = 0 and do no local work: a client that takes part without contributing. The plain
    mean of the K rows is shortened to the share H / K of honest clients and keeps its direction. A median or a sign
    vote moves towards 0 where honest clients disagree. The norm gives it away to any rule that looks for short rows.

    >>> Zero()(AttackView(honest=torch.ones(2, 2), own=torch.ones(1, 2)))
    tensor([[0., 0.]])
    """

    sees_honest = False
    shardable = True

    def craft(self, view: AttackView) -> Tensor:
        return torch.zeros(view.own.local_columns, dtype=view.own.dtype, device=view.own.device)
