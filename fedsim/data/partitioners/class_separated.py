"""Heterogeneous clients with well separated classes: each class belongs to few clients."""

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.partitioners.base import Partitioner, PartitionSettings, partitioners
from fedsim.data.samples import Columns


@partitioners.register("class_separated")
class ClassSeparated(Partitioner):
    """Each class lives with few clients, and a share of it is spread over all of them.

    The paper splits EuroSAT into seven clients, "heterogeneous with good inter-class separability", and publishes
    no split; this is ours. Classes, in random order, and clients are paired in turn until every class has a client
    and every client a class: with 10 classes and 7 clients, three clients have two classes and four have one;
    with more clients than classes, clients share a class evenly. Of each class, the share ``spread`` is distributed
    evenly over all clients, the rest over its own. 0 gives disjoint classes, 1 is iid.
    """

    class Settings(PartitionSettings):
        spread: float = Field(0.2, ge=0, le=1, description="share of each class that is dealt out to all clients")

    settings: Settings

    def assign(self, labels: Tensor, num_clients: int, generator: torch.Generator, columns: Columns) -> Tensor:
        classes = labels.unique()
        order = classes[torch.randperm(len(classes), generator=generator)]
        pairs = [(position % len(order), position % num_clients) for position in range(max(len(order), num_clients))]
        owners = torch.empty_like(labels)
        first = 0  # whose turn it is, so that rounding favours no client
        for position, label in enumerate(order):
            owning = torch.tensor([client for other, client in pairs if other == position])
            members = (labels == label).nonzero().flatten()
            members = members[torch.randperm(len(members), generator=generator)]
            spread = round(self.settings.spread * len(members))
            owners[members[:spread]] = (torch.arange(spread) + first) % num_clients
            owners[members[spread:]] = owning[torch.arange(len(members) - spread) % len(owning)]
            first = (first + spread) % num_clients
        return owners
