"""What an aggregator is: UpdateMatrix -> step, with settings, diagnostics and explicit state."""

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from fedsim.aggregators.tolerance import Tolerant
from fedsim.errors import ComponentError, FedsimWarning
from fedsim.registry import Component, Registry, in_words
from fedsim.updates.as_rows import RowsLike
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.row_statistics import RowStatistic


@dataclass(frozen=True)
class Diagnostics:
    """What a method says about its last step, in one form for all methods.

    Attributes:
        per_client: named values [K], row i of the aggregated matrix at position i.
        scalars: named numbers, such as a share of coordinates or the f used.
        trust: weight [K] in [0, 1] that each row got, where the method has one.

    >>> Diagnostics(scalars={"undecided_share": 0.25}).scalars["undecided_share"]
    0.25
    """

    per_client: Mapping[str, Tensor] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)
    trust: Tensor | None = None


class Aggregator(Component):
    """Base of every aggregator: K updates in, one step out; a subclass implements :meth:`aggregate`.

    Calling it with rows [K, D] (a tensor or an :class:`UpdateMatrix`) returns the step [D], which the server
    subtracts from the weights. Rows that contain NaN or infinity are left out first; without any finite row the
    step is zero and no state changes.

    Attributes:
        name: under which it is registered.
        references: the publications it comes from, its source first.
        settings: its settings, checked when it is built.
        diagnostics: what it says about its last step.

    Raises:
        ConfigError: an unknown or impossible setting, by name.

    >>> class FirstRow(Aggregator):
    ...     def aggregate(self, updates, context):
    ...         return updates.row(0).clone()
    >>> FirstRow()(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([1., 2.])
    """

    commutes_with_rotations: ClassVar[bool] = False
    """Whether the step is a sum of the rows (and of vectors in the state) with weights that depend on nothing but
    their inner products. An attacker then probes it on K numbers a row instead of D."""

    shardable: bool = False
    """Whether it works on a matrix that is distributed over ranks by columns: it touches vectors over the columns
    through the matrix or coordinate by coordinate, and decides by statistics of the matrix only. A server whose
    defence is not shardable runs whole on rank 0."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "aggregate" in vars(cls):  # a step of its own inherits no promise
            cls.commutes_with_rotations = vars(cls).get("commutes_with_rotations", False)
            cls.shardable = vars(cls).get("shardable", False)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.diagnostics = Diagnostics()

    def __call__(self, rows: RowsLike | UpdateMatrix, context: RoundContext | None = None) -> Tensor:
        """The step for these rows; the rows are not changed, :attr:`diagnostics` and the state are.

        Args:
            rows: [K, D], one update a row; a tensor, an array or a list.
            context: the facts of the round; left out, clients 0 to K-1 in round 0.

        Returns:
            The step [D]; zero if no row is finite. Of a matrix that is distributed over ranks, the coordinates of the
            columns that lie here.

        Raises:
            ComponentError: :meth:`aggregate` returned something else.
        """
        updates = UpdateMatrix.of(rows)
        context = context or RoundContext.of(updates.num_rows)
        updates.prepare(*self.row_statistics())
        finite = [row for row, good in enumerate(updates.finite_rows()) if good]
        self.diagnostics = Diagnostics()
        if len(finite) < updates.num_rows:
            lost = [context.client_ids[row] for row in set(range(updates.num_rows)) - set(finite)]
            warnings.warn(
                f"clients {sorted(lost)} sent NaN or infinity and are left out", FedsimWarning, stacklevel=2
            )
            updates, context = updates.select(finite), context.keep(finite)
        if not finite:
            return torch.zeros(updates.local_columns, dtype=updates.dtype, device=updates.device)
        writes = updates.writes
        with self.own_draws(context.seed, device=updates.device):
            made = self.aggregate(updates, context)
        if updates.writes != writes:
            raise ComponentError(f"{self.who}: aggregate has changed the updates; let it work on a copy (clone)")
        if not isinstance(self.diagnostics, Diagnostics):
            raise ComponentError(f"{self.who}: its diagnostics are {in_words(self.diagnostics)}, not Diagnostics")
        for key, value in self.diagnostics.scalars.items():
            if not isinstance(value, int | float):
                raise ComponentError(f"{self.who}: its diagnostic '{key}' is {in_words(value)}, not a number")
        step = self.returned(made, "aggregate", updates.device)
        if step.shape == (updates.local_columns,):
            return step
        if step.shape == (updates.num_columns,):  # made of updates.tensor()
            return updates.cut_out(step)
        wrong, columns = list(step.shape), updates.num_columns
        raise ComponentError(f"{self.who}: aggregate returned a step of shape {wrong}, not [{columns}]")

    def row_statistics(self) -> Sequence[RowStatistic]:
        """The row statistics that every step needs, which are then computed in one pass; only speed depends on it."""
        return ()

    @abstractmethod
    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        """The method itself.

        Args:
            updates: finite rows [K, D], K >= 1, not to be changed.
            context: the facts of the round; row i belongs to client ``context.client_ids[i]``.

        Returns:
            The step [D].
        """
        raise NotImplementedError

    def check(self, num_rows: int) -> None:
        """Check the settings for ``num_rows`` clients, before a run starts.

        Raises:
            ConfigError: they make no sense for so many.
        """

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on (tensors, numbers, strings, lists, dicts); empty without state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned."""


aggregators = Registry("aggregator", Aggregator)


def warn_of_reported_counts(setting: str) -> None:
    """Warn that a setting believes what clients report about themselves.

    Args:
        setting: as the user wrote it, for example ``weighting: samples``.
    """
    text = f"aggregator.{setting} believes the sample counts that clients report; a Byzantine client may report any"
    warnings.warn(text, FedsimWarning, stacklevel=3)


class TolerantAggregator(Tolerant, Aggregator):
    """Base of the aggregators that are built for up to f Byzantine clients, f = ``num_byzantine``.

    ``num_byzantine`` among their diagnostics is the f used.
    """
