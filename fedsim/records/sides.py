"""The honest clients against the Byzantine ones: what each side's values are in a round."""

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

from fedsim.records.round_record import ByClient

HONEST, BYZANTINE = "honest", "byzantine"


class Spread(NamedTuple):
    """The finite values of one side in a round."""

    mean: float
    least: float
    most: float


Sides = Mapping[str, Mapping[str, Spread]]
"""By the name of the value and by side; a side without a finite value is missing."""


def side_of(client: int, attackers: Collection[int]) -> str:
    """The side of a client."""
    return BYZANTINE if client in attackers else HONEST


def sides_of(clients: Mapping[str, ByClient], attackers: Collection[int]) -> Sides:
    """Both sides' values in a round.

    >>> sides_of({"trust": {0: 1.0, 1: 0.5, 2: 0.25}}, attackers={2})["trust"]["honest"]
    Spread(mean=0.75, least=0.5, most=1.0)
    """
    return {name: _spreads(values, attackers) for name, values in clients.items()}


def _spreads(values: ByClient, attackers: Collection[int]) -> dict[str, Spread]:
    finite: dict[str, list[float]] = {HONEST: [], BYZANTINE: []}
    for client, value in values.items():
        if value is not None and math.isfinite(value):  # NaN is stored as null
            finite[side_of(client, attackers)].append(value)
    return {side: Spread(sum(held) / len(held), min(held), max(held)) for side, held in finite.items() if held}


def curves_of(by_round: Mapping[int, Sides]) -> dict[str, dict[str, list[tuple[int, Spread]]]]:
    """The rounds and values of each side, by the name of the value; only those that exist.

    >>> curves_of({2: sides_of({"trust": {0: 1.0}}, ()), 1: {}})
    {'trust': {'honest': [(2, Spread(mean=1.0, least=1.0, most=1.0))]}}
    """
    curves: dict[str, dict[str, list[tuple[int, Spread]]]] = {}
    for number in sorted(by_round):
        for name, its in by_round[number].items():
            for side, spread in its.items():
                curves.setdefault(name, {}).setdefault(side, []).append((number, spread))
    return curves
