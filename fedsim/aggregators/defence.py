"""A defence: pre-aggregators in order, then the aggregator. What a server runs, and what an attacker probes."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

from torch import Tensor

from fedsim.aggregators.base import Aggregator, Diagnostics
from fedsim.aggregators.pre import PreAggregator
from fedsim.aggregators.tolerance import Tolerant
from fedsim.errors import ConfigError, FedsimWarning, keys_under
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix


class Defence:
    """Pre-aggregators, one after the other, and the aggregator behind them.

        step = aggregator(pre_n(... pre_1(rows)))

    Args:
        aggregator: what makes the step.
        pre: what transforms the rows before, in this order.

    Attributes:
        aggregator, pre: as given.
        aggregates_clients: whether the rows that the aggregator sees belong to one client each.
        commutes_with_rotations: whether all its members do; see :class:`~fedsim.aggregators.Aggregator`.
        shardable: whether all its members are.

    >>> import torch
    >>> from fedsim.aggregators import build_aggregator
    >>> from fedsim.aggregators.clipping import Clipping
    >>> defence = Defence(build_aggregator("fedavg"), [Clipping(radius=1.0)])
    >>> defence(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([0.3000, 0.4000])
    """

    def __init__(self, aggregator: Aggregator, pre: Sequence[PreAggregator] = ()) -> None:
        self.aggregator, self.pre = aggregator, tuple(pre)
        self.aggregates_clients = all(one.keeps_clients for one in self.pre)
        self.commutes_with_rotations = aggregator.commutes_with_rotations and all(
            one.commutes_with_rotations for one in self.pre
        )
        self.shardable = aggregator.shardable and all(one.shardable for one in self.pre)
        self._checked: set[int] = set()

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

        Raises:
            ConfigError: as :meth:`check`.
        """
        updates = UpdateMatrix.of(rows)
        context = context or RoundContext.of(updates.num_rows)
        self.check(updates.num_rows + context.dropped)
        for position, pre in enumerate(self.pre):
            with pre.own_draws(context.seed, f"call {position}", updates.device):
                returned = pre(updates, context)
            updates, context = pre.rows_of(returned, updates)
        return self.aggregator(updates, context)

    def check(self, num_clients: int) -> None:
        """Check every member for the number of rows that reach it, once for each number of clients.

        An f that fits the clients, only not the fewer rows that a pre-aggregator makes of them, is cut to what these
        allow, with a warning.

        Raises:
            ConfigError: settings that make no sense for so many, by ``pre.0.num_byzantine``, ``num_byzantine``, ...
        """
        if num_clients in self._checked:
            return
        self._checked.add(num_clients)
        *before, rows = self._rows_before(num_clients)
        for position, (pre, arriving) in enumerate(zip(self.pre, before, strict=True)):
            with keys_under(f"pre.{position}"):
                pre.check(arriving)
        self.aggregator.check(num_clients)
        if rows < num_clients:
            try:
                self.aggregator.check(rows)
            except ConfigError as error:
                text = f"aggregator.{error}; {num_clients} clients come as {rows} rows, of which it takes that many"
                warnings.warn(text, FedsimWarning, stacklevel=3)

    def tolerated(self, num_clients: int) -> list[tuple[str, int]]:
        """Name and f of each member that is built for up to f Byzantine clients, pre-aggregators first.

        >>> from fedsim.aggregators import build_aggregator
        >>> from fedsim.aggregators.nnm import NearestNeighbourMixing
        >>> Defence(build_aggregator("krum"), [NearestNeighbourMixing(num_byzantine=1)]).tolerated(num_clients=7)
        [('nnm', 1), ('krum', 2)]
        """
        found, context = [], RoundContext()
        for member, rows in zip([*self.pre, self.aggregator], self._rows_before(num_clients), strict=True):
            context = replace(context, merged=rows < num_clients)
            if isinstance(member, Tolerant):
                found.append((member.name, member.tolerated(rows, context)))
        return found

    def _rows_before(self, num_clients: int) -> list[int]:
        """How many rows reach each pre-aggregator, and last the aggregator."""
        return list(accumulate(self.pre, lambda rows, pre: pre.rows_after(rows), initial=num_clients))

    def state_dict(self) -> dict[str, Any]:
        """The aggregator's state; pre-aggregators have none."""
        return self.aggregator.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned."""
        self.aggregator.load_state_dict(state)
