"""What partitioners share: enough samples for everybody, and nobody left empty."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fedsim.errors import ConfigError


def require_enough(labels: Tensor, num_clients: int) -> None:
    """ConfigError if there are fewer samples than clients."""
    if len(labels) < num_clients:
        raise ConfigError(
            "clients.count",
            f"{num_clients} clients cannot share {len(labels)} training samples",
            "every client needs at least one",
        )


def owners_to_shares(owners: Tensor, num_clients: int) -> Sequence[Tensor]:
    """Sample indices of each client, from the owner [N] of each sample; empty clients get one of the largest.

    >>> [share.tolist() for share in owners_to_shares(torch.tensor([0, 0, 0, 2]), 3)]
    [[1, 2], [0], [3]]
    """
    owners = owners.clone()
    sizes = torch.bincount(owners, minlength=num_clients)
    for client in (sizes == 0).nonzero().flatten().tolist():
        largest = int(sizes.argmax())
        given = int((owners == largest).nonzero()[0])
        owners[given] = client
        sizes[largest] -= 1
        sizes[client] = 1
    return [(owners == client).nonzero().flatten() for client in range(num_clients)]
