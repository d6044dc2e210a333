"""Quantity skew: clients differ in how many samples they have, not in which."""

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.partitioners.base import Partitioner, PartitionSettings, partitioners
from fedsim.data.partitioners.dirichlet_shares import DirichletShares
from fedsim.data.samples import Columns
from fedsim.registry import Reference


@partitioners.register(
    "quantity",
    Reference(
        authors="Li, Diao, Chen and He",
        title="Federated Learning on Non-IID Data Silos: An Experimental Study",
        year=2022,
        venue="ICDE",
        url="https://arxiv.org/abs/2102.02079",
    ),
)
class Quantity(Partitioner):
    """Sizes drawn from Dirichlet(alpha), classes mixed as in the whole."""

    class Settings(PartitionSettings):
        alpha: float = Field(1.0, gt=0, description="concentration: 0.1 very unequal sizes, 100 nearly equal")

    settings: Settings
    by_class = False

    def assign(self, labels: Tensor, num_clients: int, generator: torch.Generator, columns: Columns) -> Tensor:
        return DirichletShares(self.settings.alpha, num_clients, generator).deal(len(labels))
