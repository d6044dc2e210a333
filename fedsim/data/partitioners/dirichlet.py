"""Label skew: each class is distributed over the clients by a Dirichlet draw."""

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.partitioners.base import Partitioner, PartitionSettings, partitioners
from fedsim.data.partitioners.dirichlet_shares import DirichletShares
from fedsim.data.samples import Columns
from fedsim.registry import Reference


@partitioners.register(
    "dirichlet",
    Reference(
        authors="Yurochkin et al.",
        title="Bayesian Nonparametric Federated Learning of Neural Networks",
        year=2019,
        venue="ICML",
        url="https://arxiv.org/abs/1905.12022",
    ),
    Reference(
        authors="Hsu, Qi and Brown",
        title="Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification",
        year=2019,
        venue="arXiv preprint",
        url="https://arxiv.org/abs/1909.06335",
    ),
)
class Dirichlet(Partitioner):
    """Each class is cut into shares drawn from Dirichlet(alpha); small alpha, strong label skew.

    For each class, the shares of the K clients are one draw from the symmetric Dirichlet distribution, as in
    Yurochkin et al. Hsu et al. draw the class proportions of each client instead, which gives clients of equal size;
    here sizes differ too.
    """

    class Settings(PartitionSettings):
        alpha: float = Field(1.0, gt=0, description="concentration: 0.1 strong skew, 100 nearly iid")

    settings: Settings

    def assign(self, labels: Tensor, num_clients: int, generator: torch.Generator, columns: Columns) -> Tensor:
        shares = DirichletShares(self.settings.alpha, num_clients, generator)
        owners = torch.empty_like(labels)
        for label in labels.unique():
            members = (labels == label).nonzero().flatten()
            owners[members] = shares.deal(len(members))
        return owners
