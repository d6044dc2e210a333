"""Values of the rounds of a run that may be as long as it likes, in memory that does not grow."""

from collections.abc import Iterable
from typing import Generic, TypeVar

V = TypeVar("V")


class Thinned(Generic[V]):
    """Values by round: of every round at first, then of every second, fourth, ... one, so that they stay few.

    Args:
        most: how many are kept.
        values: of rounds so far, in their order.

    >>> kept = Thinned(4, ((number, number**2) for number in range(1, 11)))
    >>> kept.values
    {4: 16, 8: 64}
    """

    def __init__(self, most: int, values: Iterable[tuple[int, V]] = ()) -> None:
        self._most, self._stride = most, 1
        self.values: dict[int, V] = {}
        for round_number, value in values:
            self.add(round_number, value)

    def add(self, round_number: int, value: V) -> None:
        """Keep the value of a round, if it is one of those that are kept."""
        if round_number % self._stride == 0:
            self.values[round_number] = value
        while len(self.values) > self._most:
            self._stride *= 2
            self.values = {number: kept for number, kept in self.values.items() if number % self._stride == 0}
