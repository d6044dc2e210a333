"""What a pre-aggregator is: UpdateMatrix -> UpdateMatrix, in front of any aggregator."""

from abc import abstractmethod
from typing import ClassVar

from fedsim.aggregators.tolerance import Tolerant
from fedsim.registry import Component, Registry
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix


class PreAggregator(Component):
    """Base of every pre-aggregator: K updates in, K or fewer out; a subclass implements :meth:`__call__`.

    Attributes:
        name: under which it is registered.
        references: the publications it comes from, its source first.
        settings: its settings, checked when it is built.

    Raises:
        ConfigError: an unknown or impossible setting, by name.

    >>> class Negation(PreAggregator):
    ...     def __call__(self, updates, context):
    ...         return UpdateMatrix(-updates.tensor()), context
    >>> import torch
    >>> Negation()(UpdateMatrix(torch.tensor([[1.0, -2.0]])), RoundContext.of(1))[0].tensor()
    tensor([[-1.,  2.]])
    """

    keeps_clients: ClassVar[bool] = True
    """Whether row i that comes out still belongs to the client of row i."""

    commutes_with_rotations: ClassVar[bool] = False
    """As for aggregators: the rows that come out are sums of those that go in, weighted by inner products only."""

    def rows_after(self, num_rows: int) -> int:
        """How many rows come out of ``num_rows``; fewer where rows are averaged."""
        return num_rows

    def check(self, num_rows: int) -> None:
        """Check the settings for ``num_rows`` rows, before a run starts.

        Raises:
            ConfigError: they make no sense for so many.
        """

    @abstractmethod
    def __call__(self, updates: UpdateMatrix, context: RoundContext) -> tuple[UpdateMatrix, RoundContext]:
        """The transformed rows, and the context that goes with them.

        Args:
            updates: finite rows [K, D], not to be changed.
            context: the facts of the round; row i belongs to client ``context.client_ids[i]``.

        Returns:
            Rows [M, D], M = :meth:`rows_after` of K, and their context: where M < K, its ids are not clients.
        """
        raise NotImplementedError


class TolerantPreAggregator(Tolerant, PreAggregator):
    """Base of the pre-aggregators that are built for up to f Byzantine clients, f = ``num_byzantine``."""


pre_aggregators = Registry[PreAggregator]("pre-aggregator")
