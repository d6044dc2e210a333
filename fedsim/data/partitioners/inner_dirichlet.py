"""Label skew at given sizes: each client draws its classes by shares from a Dirichlet distribution."""

from bisect import bisect
from itertools import accumulate
from sys import float_info
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.partitioners.base import Partitioner, PartitionSettings, partitioners, samples_of
from fedsim.data.partitioners.by_size import apportion
from fedsim.data.partitioners.dirichlet_shares import concentration
from fedsim.data.samples import Columns
from fedsim.errors import ConfigError
from fedsim.registry import Reference

KEY = "data.partition.sizes"


@partitioners.register(
    "inner_dirichlet",
    Reference(
        authors="Acar et al.",
        title="Federated Learning Based on Dynamic Regularization",
        year=2021,
        venue="ICLR",
        url="https://arxiv.org/abs/2111.04263",
    ),
)
class InnerDirichlet(Partitioner):
    """Clients of given sizes, each with class shares drawn from Dirichlet(alpha); small alpha, strong label skew.

    Sample by sample, a client that is not full yet is drawn, and a class by its shares; classes that are used up do
    not count any more. As the authors' code and flwr-datasets have it; where all classes of a client are used up, its
    shares of the others are drawn, where flwr-datasets fails.
    """

    class Settings(PartitionSettings):
        alpha: float = Field(1.0, gt=0, description="concentration: 0.1 strong skew, 100 nearly iid")
        sizes: list[Annotated[int, Field(ge=1)]] | None = Field(
            None, min_length=1, description="relative size of each client; null: equal sizes"
        )

    settings: Settings

    def assign(self, labels: Tensor, num_clients: int, generator: torch.Generator, columns: Columns) -> Tensor:
        weights = self.settings.sizes or [1] * num_clients
        if len(weights) != num_clients:
            raise ConfigError(KEY, f"{len(weights)} for {num_clients} clients", "give one for each client")
        draws = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        classes, class_of = labels.unique(return_inverse=True)
        left = [draws.permutation(members.numpy()).tolist() for members in samples_of(class_of, len(classes))]
        clients = [_ClassDraws(self.settings.alpha, left, draws) for _ in range(num_clients)]
        room = apportion(len(labels), weights)
        not_full = [client for client in range(num_clients) if room[client]]
        owners = [0] * len(labels)
        while not_full:
            turn = int(draws.random() * len(not_full))
            client = not_full[turn]
            owners[clients[client].next_class().pop()] = client
            room[client] -= 1
            if not room[client]:
                not_full[turn] = not_full[-1]
                not_full.pop()
        return torch.tensor(owners)


class _ClassDraws:
    """Draws classes for one client by its shares.

    Args:
        left: the samples of each class that nobody has yet; it becomes shorter meanwhile.
    """

    def __init__(self, alpha: float, left: list[list[int]], draws: np.random.Generator) -> None:
        self._alpha, self._left, self._draws = alpha, left, draws
        self._shares: list[float] = []
        self._sums = [0.0]  # of the first shares: none is drawn yet

    def next_class(self) -> list[int]:
        """What is left of a class that is drawn by the client's shares, among those of which something is left."""
        while True:
            while self._sums[-1] < float_info.min:
                self._draw_shares()
            drawn = bisect(self._sums, self._draws.random() * self._sums[-1])
            if self._left[drawn]:
                return self._left[drawn]
            self._use([share * bool(left) for share, left in zip(self._shares, self._left, strict=True)])

    def _draw_shares(self) -> None:
        """Of the classes of which something is left; some shares of a Dirichlet draw are Dirichlet themselves."""
        there = np.array([bool(left) for left in self._left])
        shares = np.zeros(len(there))
        shares[there] = self._draws.dirichlet(np.full(int(there.sum()), concentration(self._alpha)))
        self._use(shares.tolist())

    def _use(self, shares: list[float]) -> None:
        self._shares, self._sums = shares, list(accumulate(shares))
