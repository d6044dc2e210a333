"""Splits on disk: every run saves its own, and any run can be told to use a saved one."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.base import Columns, Partitioner, PartitionSettings, partitioners
from fedsim.errors import ConfigError
from fedsim.files import user_path, write_text

KEY = "data.partition.path"

NAME = "partition.json"
"""Of the file in a run's directory."""


def write_split(path: Path, shares: Sequence[Tensor], labels: Tensor, data_mark: str = "") -> None:
    """Save the sample indices of each client, and marks by which other labels and other data are told apart."""
    lines = ",\n  ".join(json.dumps(share.tolist(), separators=(",", ":")) for share in shares)
    marks = f'"labels": "{labels_mark(labels)}", "data": "{data_mark}"'
    text = f'{{"samples": {len(labels)}, {marks}, "clients": [\n  {lines}\n]}}\n'
    write_text(path, text)


def keep_split(directory: Path, shares: Sequence[Tensor], labels: Tensor, data_mark: str = "") -> None:
    """Save the split of a run in its directory; a run that is resumed must have the one that it has saved.

    Raises:
        ConfigError: it has another, so the data have changed.
    """
    path = directory / NAME
    if not path.exists():
        write_split(path, shares, labels, data_mark)
        return
    saved = read_split(path)
    now = {"labels": labels_mark(labels), "data": data_mark, "clients": [share.tolist() for share in shares]}
    if any(saved.get(key) != value for key, value in now.items()):
        problem = f"the data are not those that {directory} was split from"
        raise ConfigError("--resume", problem, "bring them back, or start a new run")


def samples_by_class(labels: Tensor, shares: Sequence[Tensor], num_classes: int) -> list[list[int]]:
    """Samples of each client by class [K, C]."""
    return [torch.bincount(labels[share], minlength=num_classes).tolist() for share in shares]


def read_split(path: Path) -> dict[str, Any]:
    """What :func:`write_split` wrote, or a file with at least ``clients``: a list of indices for each.

    Raises:
        ConfigError: the file is missing, or no such thing.
    """
    try:
        split = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(KEY, f"cannot read {path}: {error}", "name a partition.json of another run") from None
    clients = split.get("clients") if isinstance(split, dict) else None
    if not isinstance(clients, list) or not all(
        isinstance(share, list) and all(type(index) is int for index in share) for share in clients
    ):
        raise ConfigError(
            KEY, f"{path} holds no list of sample indices for each client", 'write {"clients": [[0, 2], ...]}'
        )
    return split


def labels_mark(labels: Tensor) -> str:
    """A mark of the labels [N], in their order."""
    return hashlib.blake2b(labels.numpy().tobytes(), digest_size=8).hexdigest()


@partitioners.register("file")
class SplitFile(Partitioner):
    """The split of another run (its ``partition.json``), or one of yours in that form."""

    class Settings(PartitionSettings):
        path: str | None = Field(None, description="the file, which every run writes as partition.json")

    settings: Settings

    @property
    def _path(self) -> Path:
        if self.settings.path is None:
            raise ConfigError(KEY, "missing", "name the partition.json of another run")
        return user_path(self.settings.path)

    def check(self) -> None:
        read_split(self._path)

    def assign(self, labels: Tensor, num_clients: int, generator: torch.Generator, columns: Columns) -> Tensor:
        split = read_split(self._path)
        clients: list[list[int]] = split["clients"]
        if len(clients) != num_clients:
            remedy = f"set it to {len(clients)}"
            raise ConfigError("clients.count", f"{num_clients}, but {self._path} splits among {len(clients)}", remedy)
        named = Counter(index for share in clients for index in share)
        wrong = [index for index, times in named.items() if times > 1 or not 0 <= index < len(labels)]
        wrong = wrong or [index for index in range(len(labels)) if index not in named]
        if wrong:
            raise ConfigError(
                KEY,
                f"{self._path} does not name each of the {len(labels)} training samples once (see sample {wrong[0]})",
                "take a split of the same data",
            )
        if split.get("labels", labels_mark(labels)) != labels_mark(labels):
            problem = f"{self._path} was made for samples with other labels"
            raise ConfigError(KEY, problem, "take a split of the same data")
        least = self.settings.min_samples
        short = [client for client, share in enumerate(clients) if len(share) < least]
        if short:
            problem = f"{self._path} leaves clients {short} fewer than {least} samples"
            raise ConfigError(KEY, problem, "set data.partition.min_samples: 0 to allow that")
        owners = torch.empty_like(labels)
        for client, share in enumerate(clients):
            owners[torch.tensor(share, dtype=torch.int64)] = client
        return owners
