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

    Byzantine client b of the B does its local work and sends x_b, where bit 30 of the IEEE 754 form of every
    coordinate of its own update is inverted:

        |value| < 1         multiplied by 2^128 (zero becomes 2)
        1 <= |value| < 2    infinity or NaN
        2 <= |value|        multiplied by 2^-128 (below 4: close to zero)

    It is a broken memory or link rather than an attacker who aims, and knows nothing of the others. A plain mean is
    lost at once. Order statistics, norms and distances see values of 1e38 without effort; rows with infinity or NaN
    meet the server's policy for such rows (``runtime.nonfinite``) before any rule.

    The original inverts several bits of some coordinates; here it is the one bit that does most, in every coordinate
    [ours], so that the attack needs no choice of coordinates. Rows of another dtype are rounded to float32 first.

    >>> BitFlip()(AttackView(honest=torch.ones(2, 2), own=torch.tensor([[0.5, -2.0]])))
    tensor([[1.7014e+38, -0.0000e+00]])
    """

    sees_honest = False
    trains = True
    shardable = True

    def craft(self, view: AttackView) -> Tensor:
        return (view.own.local_rows().float().view(torch.int32) ^ (1 << TOP_EXPONENT_BIT)).view(torch.float32)
