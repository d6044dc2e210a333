"""What a pre-aggregator is: UpdateMatrix -> UpdateMatrix, in front of any aggregator."""

from abc import abstractmethod
from typing import ClassVar

from fedsim.aggregators.tolerance import Tolerant
from fedsim.registry import Component, Registry
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix


class PreAggregator(Component):
    """Base of every pre-aggregator; a subclass implements :meth:`__call__`."""

    keeps_clients: ClassVar[bool] = True
    """Whether row i that comes out still belongs to the client of row i."""

    commutes_with_rotations: ClassVar[bool] = False
    """As for aggregators: the rows that come out are sums of those that go in, weighted by inner products only."""

    def rows_after(self, num_rows: int) -> int:
        """How many rows come out of ``num_rows``; fewer where rows are averaged."""
        return num_rows

    def check(self, num_rows: int) -> None:
        """Raise ConfigError if the settings make no sense for ``num_rows`` rows."""

    @abstractmethod
    def __call__(self, updates: UpdateMatrix, context: RoundContext) -> tuple[UpdateMatrix, RoundContext]:
        """The transformed rows, and the context that goes with them (fewer rows have other ids)."""
        raise NotImplementedError


class TolerantPreAggregator(Tolerant, PreAggregator):
    """A pre-aggregator built for up to f Byzantine clients, f = ``num_byzantine``."""


pre_aggregators = Registry[PreAggregator]("pre-aggregator")
