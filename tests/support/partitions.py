"""Splits by any partitioner."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedsim.data import Columns
from fedsim.data.partitioners import partitioners
from fedsim.data.split_file import write_split
from support.randomness import seeded

PARTITIONERS = list(partitioners.describe())
LABELS = (torch.arange(997) ** 2 % 1009 % 10)[torch.randperm(997, generator=torch.Generator().manual_seed(7))]
CALLS = {"shards": {"shards_per_client": 1}}
"""Settings under which a partitioner can give each client a single sample."""


def one_each_and_the_rest_to_the_first(count: int, clients: int) -> list[str]:
    """A column of ``clients`` values, as unequal as can be."""
    return [str(sample if sample < clients else 0) for sample in range(count)]


def split(
    name: str,
    labels: Tensor,
    clients: int,
    folder: Path,
    seed: int = 0,
    columns: Columns | None = None,
    **settings: Any,
) -> list[Tensor]:
    """Shares by any partitioner; those that need a column, a file or so many classes get what fits."""
    if columns is None:
        columns = {"site": one_each_and_the_rest_to_the_first(len(labels), clients)} if clients <= len(labels) else {}
    if name == "file" and "path" not in settings:
        path = folder / "split.json"
        write_split(path, [torch.arange(len(labels))[client::clients] for client in range(clients)], labels)
        settings = {"path": str(path), **settings}
    if name == "pathological" and "classes_per_client" not in settings:
        settings = {"classes_per_client": -(-len(labels.unique()) // clients), **settings}
    partitioner = partitioners.build(name, **{**CALLS.get(name, {}), **settings})
    return list(partitioner.partition(labels, clients, seeded(seed), columns))


def as_lists(shares: Sequence[Tensor]) -> list[list[int]]:
    return [share.tolist() for share in shares]


def table(labels: Tensor, shares: Sequence[Tensor], classes: int = 10) -> Tensor:
    """Counts [K, C], sample by sample."""
    counts = torch.zeros(len(shares), classes, dtype=torch.int64)
    for client, share in enumerate(shares):
        for sample in share.tolist():
            counts[client, int(labels[sample])] += 1
    return counts
