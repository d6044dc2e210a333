"""What a pre-aggregator is: UpdateMatrix -> UpdateMatrix, in front of any aggregator."""

from abc import abstractmethod

from fedsim.registry import Component, Registry
from fedsim.round_context import RoundContext
from fedsim.update_matrix import UpdateMatrix


class PreAggregator(Component):
    """Base of every pre-aggregator; a subclass implements :meth:`__call__`."""

    @abstractmethod
    def __call__(self, updates: UpdateMatrix, context: RoundContext) -> tuple[UpdateMatrix, RoundContext]:
        """The transformed rows, and the context that goes with them (fewer rows have other ids)."""
        raise NotImplementedError


pre_aggregators = Registry[PreAggregator]("pre-aggregator")
