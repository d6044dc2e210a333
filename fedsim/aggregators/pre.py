"""What a pre-aggregator is: UpdateMatrix -> UpdateMatrix, in front of any aggregator."""

from abc import abstractmethod
from typing import Any, ClassVar

from fedsim.aggregators.tolerance import Tolerant
from fedsim.errors import ComponentError
from fedsim.registry import Component, Registry, in_words
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

    shardable: ClassVar[bool] = False
    """As for aggregators: whether it works on a matrix that is distributed over ranks by columns."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__call__" in vars(cls):  # rows of its own inherit no promise
            cls.commutes_with_rotations = vars(cls).get("commutes_with_rotations", False)
            cls.shardable = vars(cls).get("shardable", False)

    def rows_of(self, returned: object, given: UpdateMatrix) -> tuple[UpdateMatrix, RoundContext]:
        """What :meth:`__call__` has returned for these rows; ComponentError if it is not what it must be."""
        match returned:
            case (UpdateMatrix() as updates, RoundContext() as context):
                pass
            case _:
                raise ComponentError(
                    f"{self.who}: __call__ returned {in_words(returned)}, not (UpdateMatrix, context)"
                )
        rows, ids = updates.num_rows, len(context.client_ids)
        if updates.num_columns != given.num_columns or rows != ids:
            made = f"rows {list(updates.shape)} with {ids} ids of {list(given.shape)}"
            raise ComponentError(f"{self.who}: __call__ made {made}; rows keep their length, and each has an id")
        return updates, context

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


pre_aggregators = Registry("pre-aggregator", PreAggregator)
