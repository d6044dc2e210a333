"""No attack."""

from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks


@attacks.register("none")
class NoAttack(Attack):
    """Byzantine clients behave: they send their own update.

    Client b of the B sends x_b = g_b, what its local work gave. This is the run without an attack that others are
    compared with: data, clients and aggregator are the same, and the defence still assumes what its settings say.

    >>> import torch
    >>> NoAttack()(AttackView(honest=torch.ones(2, 2), own=torch.tensor([[1.0, -3.0]])))
    tensor([[ 1., -3.]])
    """

    trains = True
    sees_honest = False
    shardable = True

    def craft(self, view: AttackView) -> Tensor:
        return view.own.local_rows().clone()
