"""What a schedule is: a factor of the learning rate for each round.

It never depends on how many rounds a run has, so that a longer run continues a shorter one.
"""

from abc import abstractmethod

from fedsim.registry import Component, Registry


class Schedule(Component):
    """A subclass implements :meth:`factor`."""

    @abstractmethod
    def factor(self, round_index: int) -> float:
        """What the learning rate is multiplied by in ``round`` (from 0)."""
        raise NotImplementedError


schedules = Registry("schedule", Schedule)
