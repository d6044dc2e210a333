"""A defence: pre-aggregators in order, then the aggregator. What a server runs, and what an attacker probes."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from fedsim.aggregators.base import Aggregator, Diagnostics
from fedsim.aggregators.pre import PreAggregator
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix


class Defence:
    """Pre-aggregators, one after the other, and the aggregator behind them.

        step = aggregator(pre_n(... pre_1(rows)))

    Args:
        aggregator: what makes the step.
        pre: what transforms the rows before, in this order.

    Attributes:
        aggregator: as given.
        aggregates_clients: whether the rows that the aggregator sees belong to one client each.
        commutes_with_rotations: whether all its members do; see :class:`~fedsim.aggregators.Aggregator`.

    >>> import torch
    >>> from fedsim.aggregators import build_aggregator
    >>> from fedsim.aggregators.clipping import Clipping
    >>> defence = Defence(build_aggregator("fedavg"), [Clipping(radius=1.0)])
    >>> defence(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([0.3000, 0.4000])
    """

    def __init__(self, aggregator: Aggregator, pre: Sequence[PreAggregator] = ()) -> None:
        self.aggregator, self._pre = aggregator, list(pre)
        self.aggregates_clients = all(one.keeps_clients for one in self._pre)
        self.commutes_with_rotations = aggregator.commutes_with_rotations and all(
            one.commutes_with_rotations for one in self._pre
        )

    @property
    def diagnostics(self) -> Diagnostics:
        """What the aggregator says about its last step."""
        return self.aggregator.diagnostics

    def __call__(self, rows: Tensor | UpdateMatrix, context: RoundContext | None = None) -> Tensor:
        """The step for these rows, which are not changed.

        Args:
            rows: [K, D], one update a row.
            context: the facts of the round; left out, clients 0 to K-1 in round 0.

        Returns:
            The step [D].
        """
        updates = UpdateMatrix.of(rows)
        context = context or RoundContext.of(updates.num_rows)
        for pre in self._pre:
            updates, context = pre(updates, context)
        return self.aggregator(updates, context)

    def state_dict(self) -> dict[str, Any]:
        """The aggregator's state; pre-aggregators have none."""
        return self.aggregator.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned."""
        self.aggregator.load_state_dict(state)
