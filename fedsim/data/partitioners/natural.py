"""Clients as the data bring them: one for each value of a column."""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.partitioners.base import Partitioner, PartitionSettings, partitioners
from fedsim.data.samples import Columns
from fedsim.errors import ConfigError, did_you_mean


@partitioners.register("natural")
class Natural(Partitioner):
    """One client for each value of a column of the data, in sorted order, for example each hospital."""

    class Settings(PartitionSettings):
        column: str | None = Field(None, description="name of the column; null: the only one there is")

    settings: Settings

    def assign(self, labels: Tensor, num_clients: int, generator: torch.Generator, columns: Columns) -> Tensor:
        values = self._values(columns)
        names = _sorted(values)
        if len(names) != num_clients:
            shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise ConfigError(
                "clients.count", f"{num_clients}, but the data have {len(names)}: {shown}", f"set it to {len(names)}"
            )
        return _positions(values, names)

    def owners_of_tests(self, train: Columns, test: Columns) -> Tensor | None:
        """Each test sample belongs to the client of its own value."""
        return _positions(self._values(test), _sorted(self._values(train)))

    def _values(self, columns: Columns) -> Sequence[str]:
        wanted = self.settings.column or (next(iter(columns)) if len(columns) == 1 else None)
        if wanted is None or wanted not in columns:
            problem = f"the data have no column '{wanted}'" if wanted else "missing"
            raise ConfigError("data.partition.column", problem, did_you_mean(wanted or "", columns))
        return columns[wanted]


def _sorted(values: Sequence[str]) -> list[str]:
    """Distinct values, numbers by size."""
    return sorted(set(values), key=lambda value: (0, int(value), value) if value.isdecimal() else (1, 0, value))


def _positions(values: Sequence[str], names: Sequence[str]) -> Tensor:
    position = {name: number for number, name in enumerate(names)}
    return torch.tensor([position.get(value, -1) for value in values], dtype=torch.int64)
