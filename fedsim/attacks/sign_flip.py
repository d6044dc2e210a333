"""Sign flipping."""

from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks


@attacks.register("sign_flip")
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
