"""Clients as the data bring them: one for each value of a column."""

import re
import warnings
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from fedsim.data.formats.table import is_missing
from fedsim.data.partitioners.base import Partitioner, PartitionSettings, partitioners
from fedsim.data.samples import Columns
from fedsim.errors import ConfigError, FedsimWarning, did_you_mean

KEY = "data.partition.column"

USUAL = "client"
"""The column that is taken where none is named and there are several."""

NAMED = 5
"""Values that a warning names."""


@partitioners.register("natural")
class Natural(Partitioner):
    """One client for each value of a column of the data, in sorted order, for example each hospital.

    Spaces at the ends do not count, and ``1.0`` beside ``1`` is the same value; every training sample must have one.
    With ``group_size``, as many values, one after another, make one client; the last client may have fewer.
    """

    class Settings(PartitionSettings):
        column: str | None = Field(None, description="name of the column; null: client, or the only one there is")
        group_size: int = Field(1, ge=1, description="values that make one client together")

    settings: Settings
    by_class = False
    follows_owners = True

    def assign(self, labels: Tensor, num_clients: int, generator: torch.Generator, columns: Columns) -> Tensor:
        values = self._values(columns)
        empty = sum(map(is_missing, values))
        if empty:
            problem = (
                f"{empty} of {len(values)} training samples have no value in the column '{self._column(columns)}'"
            )
            raise ConfigError(KEY, problem, "give each its value, or take these samples out")
        clients = _clients(values)
        names = list(dict.fromkeys(clients.values()))
        count = -(-len(names) // self.settings.group_size)
        if count != num_clients:
            shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            groups = f" in {count} groups" if self.settings.group_size > 1 else ""
            problem = f"{num_clients}, but the data have {len(names)}{groups}: {shown}"
            raise ConfigError("clients.count", problem, f"set it to {count}")
        _warn_of_near_names(names)
        return self._owners(values, clients)

    def owners_of_tests(self, train: Columns, test: Columns) -> Tensor | None:
        """Each test sample belongs to the client of its own value; a FedsimWarning for those of no client."""
        values, clients = self._values(test), _clients(self._values(train))
        if all(map(is_missing, values)):  # test data that are the server's
            return None
        owners = self._owners(values, clients)
        foreign = sorted({values[sample] for sample in (owners < 0).nonzero().flatten().tolist()})
        if foreign:
            count = int((owners < 0).sum())
            text = f"{KEY}: {count} test sample{'s' * (count > 1)} belong{'s' * (count == 1)} to no client"
            shown = ", ".join(f"'{value}'" for value in foreign[:NAMED]) + (", ..." if len(foreign) > NAMED else "")
            warnings.warn(f"{text}: nobody trains on {shown}", FedsimWarning, stacklevel=2)
        return owners

    def _owners(self, values: Sequence[str], clients: dict[str, str]) -> Tensor:
        """The client of each value, -1 for none."""
        return _positions(values, clients).div(self.settings.group_size, rounding_mode="floor")

    def _values(self, columns: Columns) -> Sequence[str]:
        return columns[self._column(columns)]

    def _column(self, columns: Columns) -> str:
        wanted = self.settings.column or (next(iter(columns)) if len(columns) == 1 else None)
        if wanted is None and USUAL in columns:
            wanted = USUAL
        if wanted is None or wanted not in columns:
            problem = f"the data have no column '{wanted}'" if wanted else "missing"
            raise ConfigError(KEY, problem, did_you_mean(wanted or "", columns))
        return wanted


def _clients(values: Sequence[str]) -> dict[str, str]:
    """The client of each :func:`_one_spelling` of the values, in sorted order, numbers by size.

    A client is called as it is spelt, or by the shortest of several spellings.
    """
    spelt: dict[str, set[str]] = {}
    for value in dict.fromkeys(values):
        spelt.setdefault(_one_spelling(value), set()).add(value.strip())
    names = {one: min(spellings, key=lambda value: (len(value), value)) for one, spellings in spelt.items()}
    return dict(sorted(names.items(), key=lambda item: _rank(item[1])))


def _rank(name: str) -> tuple[int, int, str]:
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)


def _one_spelling(value: str) -> str:
    """Without spaces at the ends, and a whole number without decimals.

    >>> [_one_spelling(value) for value in ("1.0", " 1", "1.5", "v1.0")]
    ['1', '1', '1.5', 'v1.0']
    """
    whole = re.fullmatch(r"(-?\d+)\.0*", value.strip())
    return whole[1] if whole else value.strip()


def _positions(values: Sequence[str], clients: dict[str, str]) -> Tensor:
    position = {one: number for number, one in enumerate(clients)}
    of_value = {value: position.get(_one_spelling(value), -1) for value in dict.fromkeys(values)}
    return torch.tensor([of_value[value] for value in values], dtype=torch.int64)


def _warn_of_near_names(names: Sequence[str]) -> None:
    """FedsimWarning for clients whose names differ only in case, leading zeros or spaces within."""
    near: dict[str, list[str]] = {}
    for name in names:
        near.setdefault(re.sub(r"[\s_]+", " ", name).casefold().lstrip("0"), []).append(name)
    pairs = [f"'{same[0]}' and '{same[1]}'" for same in near.values() if len(same) > 1]
    if pairs:
        shown = ", ".join(pairs[:NAMED]) + (", ..." if len(pairs) > NAMED else "")
        warnings.warn(
            f"{KEY}: {shown} are different clients; spell them alike if they are one", FedsimWarning, stacklevel=3
        )
