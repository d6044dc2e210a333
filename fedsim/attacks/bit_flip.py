"""Bit flipping: what a broken memory or a crude attacker makes of a number."""

import torch
from torch import Tensor

from fedsim.attacks.base import Attack, AttackView, attacks
from fedsim.registry import Reference

TOP_EXPONENT_BIT = 30


@attacks.register(
    "bit_flip",
    Reference(
        authors="Xie, Koyejo and Gupta",
        title="Generalized Byzantine-tolerant SGD",
        year=2018,
        venue="arXiv preprint",
        url="https://arxiv.org/abs/1802.10116",
    ),
)
class BitFlip(Attack):
    """Own update with the top exponent bit of every float32 inverted: small values become huge, huge ones small.

    A magnitude below 1 is multiplied by 2^128 (zero becomes 2), one of 2 or more by 2^-128. Those in [1, 2) become
    infinite or NaN, and so meet the server's policy for such rows. Rows of another dtype are rounded to float32
    first. One bit, in every coordinate [ours]: the paper flips several bits in some.

    >>> BitFlip()(AttackView(honest=torch.ones(2, 2), own=torch.tensor([[0.5, -2.0]])))
    tensor([[1.7014e+38, -0.0000e+00]])
    """

    sees_honest = False
    trains = True

    def craft(self, view: AttackView) -> Tensor:
        return (view.own.tensor().float().view(torch.int32) ^ (1 << TOP_EXPONENT_BIT)).view(torch.float32)
