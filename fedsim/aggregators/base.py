"""What an aggregator is: UpdateMatrix -> step, with settings, diagnostics and explicit state."""

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from fedsim.aggregators.tolerance import Tolerant
from fedsim.errors import FedsimWarning
from fedsim.registry import Component, Registry
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix


@dataclass(frozen=True)
class Diagnostics:
    """What a method says about its last step, in one form for all methods.

    Attributes:
        per_client: named values [K], row i of the aggregated matrix at position i.
        scalars: named numbers.
        trust: weight in [0, 1] that each row got, where the method has one.
    """

    per_client: Mapping[str, Tensor] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)
    trust: Tensor | None = None


class Aggregator(Component):
    """Base of every aggregator; a subclass implements :meth:`aggregate`.

    Calling it with rows [K, D] (a tensor or an :class:`UpdateMatrix`) returns the step [D]. Rows with
    NaN or infinity are left out first; without any finite row the step is zero and no state changes.
    """

    commutes_with_rotations: ClassVar[bool] = False
    """Whether the step is a sum of the rows (and of vectors in the state) with weights that depend on nothing but
    their inner products. An attacker then probes it on K numbers a row instead of D."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "aggregate" in vars(cls):  # a step of its own inherits no promise
            cls.commutes_with_rotations = vars(cls).get("commutes_with_rotations", False)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.diagnostics = Diagnostics()

    def __call__(self, rows: Tensor | UpdateMatrix, context: RoundContext | None = None) -> Tensor:
        updates = UpdateMatrix.of(rows)
        context = context or RoundContext.of(updates.num_rows)
        finite = [row for row, good in enumerate(updates.finite_rows()) if good]
        self.diagnostics = Diagnostics()
        if len(finite) < updates.num_rows:
            lost = [context.client_ids[row] for row in set(range(updates.num_rows)) - set(finite)]
            warnings.warn(
                f"clients {sorted(lost)} sent NaN or infinity and are left out", FedsimWarning, stacklevel=2
            )
            updates, context = updates.select(finite), context.keep(finite)
        if not finite:
            return torch.zeros(updates.num_columns, dtype=updates.dtype, device=updates.device)
        step = self.aggregate(updates, context)
        if step.shape != (updates.num_columns,):
            wrong, columns = list(step.shape), updates.num_columns
            raise ValueError(f"aggregator '{self.name}' made a step of shape {wrong} of rows of {columns} columns")
        return step

    @abstractmethod
    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        """The step [D] for finite rows [K, D], K >= 1."""
        raise NotImplementedError

    def check(self, num_rows: int) -> None:
        """Raise ConfigError if the settings make no sense for ``num_rows`` clients."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on (tensors, numbers, strings, lists, dicts)."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave."""


aggregators = Registry[Aggregator]("aggregator")


def warn_of_reported_counts(setting: str) -> None:
    """FedsimWarning that a setting believes what clients report about themselves."""
    text = f"aggregator.{setting} believes the sample counts that clients report; a Byzantine client may report any"
    warnings.warn(text, FedsimWarning, stacklevel=3)


class TolerantAggregator(Tolerant, Aggregator):
    """An aggregator built for up to f Byzantine clients, f = ``num_byzantine``."""
