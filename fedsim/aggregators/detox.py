"""DETOX: votes inside small groups, then a robust rule over the groups."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from fedsim.aggregators.base import Aggregator, Diagnostics, aggregators
from fedsim.errors import ConfigError, keys_under
from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.updates.column_maps import column_map
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.order_statistics import lower_median

median_of_rows = column_map(lower_median)


@aggregators.register(
    "detox",
    Reference(
        authors="Rajput, Wang, Charles and Papailiopoulos",
        title="DETOX: A Redundancy-based Framework for Faster and More Robust Gradient Aggregation",
        year=2019,
        venue="NeurIPS",
        url="https://arxiv.org/abs/1907.12205",
    ),
)
class Detox(Aggregator):
    """One row voted for in each random group of clients, and another aggregator over these rows.

        y_m  = vote of the g_k in group m,    m = 1, ..., M
        step = A(y_1, ..., y_M)

    The updates g_1, ..., g_K in R^D of K clients are shuffled each round into M = ceil(K/r) groups, r the
    ``group_size``; the vote is the coordinate-wise (lower) median or the mean, A the ``inner`` aggregator; the step
    has the shape [D].

    It fails where Byzantine clients hold the majority of a group: its row is theirs, and few clients make few groups
    for A to compare.

    An adaptation of our own: as published, the members of a group compute the same gradient, and the value that most
    of them send exactly wins. Clients of a federation send different updates, hence the median. An inner aggregator
    that remembers single clients remembers group numbers, which mean nothing, as groups change each round.

    Raises:
        ConfigError: ``inner`` is not a registered aggregator.

    >>> rows = torch.tensor([[1.0, 5.0], [2.0, 4.0], [99.0, -99.0]])
    >>> Detox()(rows)    # one group of three
    tensor([2., 4.])
    >>> Detox(group_size=1, inner="fedavg")(rows)
    tensor([ 34., -30.])
    """

    class Settings(Schema):
        group_size: int = Field(3, ge=1, description="r, clients in a group; the last group may have fewer")
        vote: Literal["median", "mean"] = Field("median", description="what a group makes of its rows")
        inner: str = Field("cwmed", description="aggregator over the groups' rows, with its default settings")

    settings: Settings

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        try:
            self.inner = aggregators.build(self.settings.inner)
        except ConfigError as error:
            raise ConfigError("inner", error.problem, error.remedy) from None

    @property
    def shardable(self) -> bool:  # type: ignore[override]
        """Whether the inner rule is."""
        return self.inner.shardable

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        generator = context.randomness()
        groups = self._draw_groups(context.in_id_order(), generator)
        # One stream of randomness for both: what the inner rule draws must not repeat the shuffle.
        of_groups = replace(context.of_groups(len(groups)), generator=generator)
        step = self.inner(self._vote(updates, groups), of_groups)
        self._report(groups, updates.num_rows)
        return step

    def _draw_groups(self, in_id_order: Sequence[int], generator: torch.Generator) -> list[list[int]]:
        shuffled = [in_id_order[place] for place in torch.randperm(len(in_id_order), generator=generator).tolist()]
        size = self.settings.group_size
        return [shuffled[first : first + size] for first in range(0, len(shuffled), size)]

    def _vote(self, updates: UpdateMatrix, groups: Sequence[Sequence[int]]) -> UpdateMatrix:
        """The groups' rows [M, D]: means are computed when read; medians are stored, one row for a whole group."""
        if self.settings.vote == "mean" or self.settings.group_size == 1:
            weights = torch.zeros(len(groups), updates.num_rows, dtype=torch.float64)
            for number, members in enumerate(groups):
                weights[number, members] = 1 / len(members)
            return updates.mix(weights)
        medians = torch.empty(len(groups), updates.local_columns, dtype=updates.dtype, device=updates.device)
        for median, members in zip(medians, groups, strict=True):
            median.copy_(updates.select(members).map_columns(median_of_rows))
        return updates.beside(medians)

    def _report(self, groups: Sequence[Sequence[int]], num_rows: int) -> None:
        group = torch.empty(num_rows, dtype=torch.long)
        for number, members in enumerate(groups):
            group[members] = number
        inner = self.inner.diagnostics
        self.diagnostics = Diagnostics(
            per_client={**{key: values.cpu()[group] for key, values in inner.per_client.items()}, "group": group},
            scalars=inner.scalars,
            trust=None if inner.trust is None else inner.trust.cpu()[group],
        )

    def check(self, num_rows: int) -> None:
        with keys_under("inner"):
            self.inner.check(-(-num_rows // self.settings.group_size))

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.inner.load_state_dict(state)
