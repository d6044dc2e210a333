"""Shares drawn from a Dirichlet distribution, for the partitioners that need them."""

import numpy as np
import torch
from torch import Tensor


def concentration(alpha: float) -> float:
    """alpha, within limits between which numpy draws fairly: sums of it are finite, parts of it not zero."""
    return min(max(alpha, 1e-300), 1e300)


class DirichletShares:
    """Deals samples out to clients in shares drawn from Dirichlet(alpha).

    torch's Dirichlet offers no generator, so the draws are numpy's, seeded by the generator.
    """

    def __init__(self, alpha: float, num_clients: int, generator: torch.Generator) -> None:
        self._draws = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        self._alphas = np.full(num_clients, concentration(alpha))

    def deal(self, count: int) -> Tensor:
        """The client that gets each of ``count`` samples [count], after a shuffle."""
        shuffled = torch.from_numpy(self._draws.permutation(count))
        shares = torch.from_numpy(self._draws.dirichlet(self._alphas))
        bounds = (shares.cumsum(0)[:-1] * count).round().long()
        owners = torch.empty(count, dtype=torch.int64)
        owners[shuffled] = torch.bucketize(torch.arange(count), bounds, right=True)
        return owners
