"""Label skew by number: each client has samples of a few classes only."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.partitioners.base import Partitioner, PartitionSettings, partitioners, samples_of
from fedsim.data.samples import Columns
from fedsim.errors import ConfigError
from fedsim.registry import Reference

KEY = "data.partition.classes_per_client"


@partitioners.register(
    "pathological",
    Reference(
        authors="Li, Diao, Chen and He",
        title="Federated Learning on Non-IID Data Silos: An Experimental Study",
        year=2022,
        venue="ICDE",
        url="https://arxiv.org/abs/2102.02079",
    ),
)
class Pathological(Partitioner):
    """Each client has a fixed number of classes, and a class is distributed evenly over the clients that have it.

    Which of the C classes client k has is said by ``assignment``, as in flwr-datasets. There, samples of a class that
    no client has are left out; here such a class replaces, at a random client, one that several have [ours].
    """

    class Settings(PartitionSettings):
        classes_per_client: int = Field(2, ge=1, description="classes of each client")
        assignment: Literal["random", "deterministic", "first-deterministic"] = Field(
            "random",
            description="classes of client k: random: any; deterministic: k, k + 1, ... (modulo C); "
            "first-deterministic: k (modulo C), and others at random, as Li et al. have it",
        )

    settings: Settings

    def assign(self, labels: Tensor, num_clients: int, generator: torch.Generator, columns: Columns) -> Tensor:
        classes, class_of = labels.unique(return_inverse=True)
        self._require_all_held(len(classes), num_clients)
        held = self._held(num_clients, len(classes), generator)
        owners = torch.empty_like(labels)
        for label, members, having in zip(classes, samples_of(class_of, len(classes)), held.T, strict=True):
            clients = having.nonzero().flatten()
            if len(members) < len(clients):
                problem = f"class {int(label)} has {len(members)} samples for {len(clients)} clients"
                raise ConfigError(KEY, problem, "take fewer classes for each client, or fewer clients")
            members = members[torch.randperm(len(members), generator=generator)]
            owners[members] = clients[torch.arange(len(members)) % len(clients)]
        return owners

    def _require_all_held(self, num_classes: int, num_clients: int) -> None:
        """ConfigError unless each client can have its classes, and each class a client."""
        each = self.settings.classes_per_client
        if each > num_classes:
            raise ConfigError(KEY, f"{each}, but the data have {num_classes}", f"set it to {num_classes} or less")
        in_a_row = self.settings.assignment == "deterministic"
        least = num_classes - num_clients + 1 if in_a_row else -(-num_classes // num_clients)
        if each < least:
            problem = f"{num_clients} clients with {each} each do not have all of the {num_classes} classes"
            raise ConfigError(KEY, problem, f"set it to {least} or more, or take more clients")

    def _held(self, num_clients: int, num_classes: int, generator: torch.Generator) -> Tensor:
        """Which client has which class [K, C]: the ones with its lowest scores."""
        clients, classes = torch.arange(num_clients), torch.arange(num_classes)
        first = clients % num_classes
        fixed = torch.zeros(num_clients, num_classes, dtype=torch.bool)
        if self.settings.assignment == "deterministic":
            scores = ((classes - first[:, None]) % num_classes).float()
        else:
            scores = torch.rand(num_clients, num_classes, generator=generator)
        if self.settings.assignment == "first-deterministic":
            fixed[clients, first] = True
            scores[fixed] = -1
        chosen = scores.topk(self.settings.classes_per_client, largest=False).indices
        held = torch.zeros_like(fixed).scatter_(1, chosen, value=True)
        return _without_gaps(held, fixed, generator)


def _without_gaps(held: Tensor, fixed: Tensor, generator: torch.Generator) -> Tensor:
    """Which client has which class [K, C], after each class that nobody had replaced one that several have.

    Args:
        fixed: what no client gives up.
    """
    held = held.clone()
    for missing in (~held.any(0)).nonzero().flatten():
        client, given_up = (held & ~fixed & (held.sum(0) > 1)).nonzero().T
        which = int(torch.randint(len(client), (1,), generator=generator))
        held[client[which], given_up[which]] = False
        held[client[which], missing] = True
    return held
