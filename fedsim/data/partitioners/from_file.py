"""The split that a file holds: of another run, or the user's own."""

from collections import Counter
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.partitioners.base import Partitioner, PartitionSettings, partitioners
from fedsim.data.samples import Columns
from fedsim.data.split_file import KEY, labels_digest, read_split
from fedsim.errors import ConfigError
from fedsim.files import user_path


@partitioners.register("file")
class SplitFile(Partitioner):
    """The split of another run (its ``partition.json``), or one of yours in that form."""

    class Settings(PartitionSettings):
        path: str | None = Field(None, description="the file, which every run writes as partition.json")

    settings: Settings
    by_class = False
    follows_owners = True

    @property
    def _path(self) -> Path:
        if self.settings.path is None:
            raise ConfigError(KEY, "missing", "name the partition.json of another run")
        return user_path(self.settings.path, KEY)

    def check(self) -> None:
        read_split(self._path)

    def validation_samples(self) -> Tensor | None:
        kept = read_split(self._path).get("validation", [])
        return torch.tensor(sorted(kept), dtype=torch.int64) if kept else None

    def assign(self, labels: Tensor, num_clients: int, generator: torch.Generator, columns: Columns) -> Tensor:
        split = read_split(self._path)
        clients: list[list[int]] = split["clients"]
        if len(clients) != num_clients:
            remedy = f"set it to {len(clients)}"
            raise ConfigError("clients.count", f"{num_clients}, but {self._path} splits among {len(clients)}", remedy)
        named = Counter(index for indices in [*clients, split.get("validation", [])] for index in indices)
        wrong = [index for index, times in named.items() if times > 1 or not 0 <= index < len(labels)]
        wrong = wrong or [index for index in range(len(labels)) if index not in named]
        if wrong:
            raise ConfigError(
                KEY,
                f"{self._path} does not name each of the {len(labels)} training samples once (see sample {wrong[0]})",
                "take a split of the same data, with the same data.imbalance",
            )
        if split.get("labels", labels_digest(labels)) != labels_digest(labels):
            problem = f"{self._path} was made for samples with other labels"
            raise ConfigError(KEY, problem, "take a split of the same data")
        least = self.settings.min_samples
        short = [client for client, indices in enumerate(clients) if len(indices) < least]
        if short:
            problem = f"{self._path} leaves clients {short} fewer than {least} samples"
            raise ConfigError(KEY, problem, "set data.partition.min_samples: 0 to allow that")
        owners = torch.zeros(len(labels), dtype=torch.int64)  # validation samples are taken away again
        for client, indices in enumerate(clients):
            owners[torch.tensor(indices, dtype=torch.int64)] = client
        return owners
