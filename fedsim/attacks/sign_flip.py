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
    """Minus the own update: an honest client that climbs the loss instead of descending.

    Byzantine client b of the B does its local work and sends

        x_b = -g_b,

    g_b [D] being its own update. It knows nothing of the others. Norms are exactly those of honest rows, so filters
    of norms do not see it. A plain mean is slowed, not reversed, while B < H, H being the number of honest clients;
    where honest updates agree in direction, cosines and votes on signs see it.

    The original multiplies by a negative constant; here it is -1, so that the length gives nothing away. ``scaling``
    with a negative factor is the general form.

    >>> import torch
    >>> SignFlip()(AttackView(honest=torch.ones(2, 2), own=torch.tensor([[1.0, -3.0]])))
    tensor([[-1.,  3.]])
    """

    sees_honest = False
    trains = True
    shardable = True

    def craft(self, view: AttackView) -> Tensor:
        return -view.own.local_rows()
