"""Label skew: each class is shared out by a Dirichlet draw."""

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.base import Partitioner, partitioners
from fedsim.data.shares import owners_to_shares, require_enough
from fedsim.settings import Schema


@partitioners.register("dirichlet", paper="Hsu et al. 2019, Measuring the Effects of Non-Identical Data Distribution")
class Dirichlet(Partitioner):
    """Each class is cut into shares drawn from Dirichlet(alpha); small alpha, strong label skew."""

    class Settings(Schema):
        alpha: float = Field(1.0, gt=0, description="concentration: 0.1 strong skew, 100 nearly iid")

    settings: Settings

    def partition(self, labels: Tensor, num_clients: int, generator: torch.Generator) -> Sequence[Tensor]:
        require_enough(labels, num_clients)
        seed = int(torch.randint(2**62, (1,), generator=generator))
        draws = np.random.default_rng(seed)  # torch's Dirichlet offers no generator
        owners = torch.empty_like(labels)
        for label in labels.unique():
            members = (labels == label).nonzero().flatten()
            members = members[torch.from_numpy(draws.permutation(len(members)))]
            shares = torch.from_numpy(draws.dirichlet(np.full(num_clients, self.settings.alpha)))
            bounds = (shares.cumsum(0)[:-1] * len(members)).round().long()
            owners[members] = torch.bucketize(torch.arange(len(members)), bounds, right=True)
        return owners_to_shares(owners, num_clients)
