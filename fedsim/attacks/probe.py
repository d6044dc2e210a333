"""What an attacker learns by trying rows out on the server's defence, without the server noticing.

A tailored attack asks for many gamma how far B equal rows x(gamma) = base + gamma * direction [D] would carry the
aggregate A from the mean mu of the H honest rows g_i:

    J(gamma) = ||mu - A(g_1, ..., g_H, x(gamma), ..., x(gamma))||.

A is a copy of the server's defence, pre-aggregators, momentum and other state included; the state is set back before
every question, and whatever A draws at random comes from the attacker's generator, never from the server's. What does
not change between the questions is computed once:

- a defence that commutes with rotations sees all rows as coordinates in the space that they span: after one
  pass over the honest rows a question costs K x K numbers, not K x D;
- any other finds on the honest rows the statistics that the question before has left there (norms, quantiles,
  sign agreement, order statistics): see :meth:`~fedsim.updates.matrix.UpdateMatrix.extend`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite
from typing import Any, Protocol

import torch
from torch import Tensor

from fedsim.errors import FedsimWarning
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from fedsim.updates.random_rows import draw_seed

ROUNDING = 1e-6
"""Improvements below this share are those of float32 rounding."""


class Probed(Protocol):
    """What can be probed: an aggregator or a defence. Without ``commutes_with_rotations`` it is taken not to."""

    def __call__(self, rows: Tensor | UpdateMatrix, context: RoundContext | None = None, /) -> Tensor: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any], /) -> None: ...


@dataclass(frozen=True)
class Line:
    """Rows x(gamma) = base + gamma * direction, all [D]."""

    base: Tensor
    direction: Tensor

    def at(self, gamma: float, out: Tensor | None = None) -> Tensor:
        """x(gamma) [D], perhaps written into ``out``.

        >>> Line(torch.tensor([1.0, 2.0]), torch.tensor([0.0, -1.0])).at(3.0)
        tensor([ 1., -1.])
        """
        return torch.add(self.base, self.direction, alpha=gamma, out=out)


class Probe:
    """Rows of the attacker beside rows that stay, tried out on a copy of the defence.

    Every question starts from the state of the defence as it was given and from the same randomness, so that
    answers can be compared; neither is ever advanced.

    Args:
        defence: aggregator, perhaps with pre-aggregators; it is copied.
        honest: rows [H, D] whose mean the aggregate should be.
        accomplices: further rows that stay, if there are any.
        count: B, how many rows the attacker sends.
        context: of the round; ``client_ids`` names the honest clients, the attacker's, then the accomplices.

    >>> from fedsim.aggregators import build_aggregator
    >>> honest = UpdateMatrix(torch.tensor([[1.0], [2.0], [3.0]]))
    >>> probe = Probe(build_aggregator("cwmed"), honest, None, 2, RoundContext.of(5))
    >>> probe.step(torch.tensor([-9.0])), probe.deviation(torch.tensor([-9.0]))
    (tensor([1.]), 1.0)
    """

    def __init__(
        self,
        defence: Probed,
        honest: UpdateMatrix,
        accomplices: UpdateMatrix | None,
        count: int,
        context: RoundContext,
    ) -> None:
        self._defence = copy.deepcopy(defence)
        self._state = copy.deepcopy(defence.state_dict())
        self._honest, self._count = honest, count
        several = accomplices is not None and accomplices.num_rows > 0
        self._staying = honest.extend(accomplices.local_rows()) if several and accomplices is not None else honest
        self._context = _staying_first(context, honest.num_rows, count)
        self._seed = draw_seed(context.randomness())

    @cached_property
    def honest_mean(self) -> Tensor:
        """Mean [D] of the honest rows."""
        return self._honest.mean()

    def step(self, rows: Tensor) -> Tensor:
        """What the defence would make of ``rows``, [B, D] or one [D] for all B."""
        return self._ask(self._staying.extend(rows.expand(self._count, -1)))

    def deviation(self, rows: Tensor) -> float:
        """How far that step would be from the honest mean."""
        return _distance(self._honest, self.step(rows), self.honest_mean)

    def deviation_along(self, line: Line, *, from_base: bool = False) -> Callable[[float], float]:
        """The deviation under B equal rows x(gamma), as a function of gamma that is cheap to ask again.

        Args:
            from_base: measure the distance from the line's base, not from the honest mean.
        """
        if getattr(self._defence, "commutes_with_rotations", False):
            return self._deviation_in_coordinates(line, from_base)
        row = torch.empty_like(line.base)  # written again by each question: fresh memory costs more than the sum
        mean = line.base if from_base else self.honest_mean
        return lambda gamma: _distance(self._honest, self.step(line.at(gamma, out=row)), mean)

    def _deviation_in_coordinates(self, line: Line, from_base: bool) -> Callable[[float], float]:
        columns = self._staying.local_columns
        vectors = {name: value for name, value in self._state.items() if _is_vector(value, columns)}
        points = self._staying.extend(torch.stack([line.base, line.direction, *vectors.values()]).to(line.base))
        coordinates = coordinates_of(points.gram().cpu())
        size = self._staying.num_rows
        staying, base, direction = coordinates[:size], coordinates[size], coordinates[size + 1]
        state = {**self._state, **dict(zip(vectors, coordinates[size + 2 :], strict=True))}
        mean = base if from_base else staying[: self._honest.num_rows].mean(0)

        def deviation(gamma: float) -> float:
            row = base + gamma * direction
            rows = UpdateMatrix(torch.cat([staying, row.expand(self._count, -1)]))
            return _distance(rows, self._ask(rows, state), mean)

        return deviation

    def _ask(self, rows: UpdateMatrix, state: Mapping[str, Any] | None = None) -> Tensor:
        self._defence.load_state_dict(copy.deepcopy(self._state if state is None else dict(state)))
        context = replace(self._context, generator=torch.Generator().manual_seed(self._seed))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FedsimWarning)
            return self._defence(rows, context)


def coordinates_of(gram: Tensor) -> Tensor:
    """Coordinates [n, n] of n vectors with these inner products [n, n], float64.

    Each vector is brought to length one first, so that a short one keeps its digits beside a long one.

    >>> coordinates_of(torch.tensor([[4.0, 2.0], [2.0, 1.0]]).double()).norm(dim=1)
    tensor([2., 1.], dtype=torch.float64)
    """
    lengths = gram.diagonal().clamp(min=0).sqrt()
    units = torch.where(lengths > 0, lengths, 1.0)
    values, vectors = torch.linalg.eigh(gram / units[:, None] / units)
    return lengths[:, None] * (vectors * values.clamp(min=0).sqrt())


def search_largest(objective: Callable[[float], float], probes: int, step: float) -> tuple[float, float]:
    """Where ``objective`` is largest among ``probes`` tries at x >= 0, and its value there.

    x = 0 comes first. While x + step is better, it is taken and the step doubles; then each try shrinks the step
    to 0.8 of it and looks on the other side of the best x so far than the try before. What rounding alone could
    have made better is not: against a defence that a row cannot carry further, x does not run away.

    >>> x, value = search_largest(lambda x: -(x - 5) ** 2, probes=20, step=1.0)
    >>> abs(x - 5) < 0.3
    True
    """
    best, value = 0.0, objective(0.0)
    growing, up = True, True
    for _ in range(probes - 1):
        tried = best + step if up else max(0.0, best - step)
        reached = objective(tried)
        if reached - value > ROUNDING * abs(value):
            best, value = tried, reached
            step = 2 * step if growing else 0.8 * step
        else:
            growing, up, step = False, not up, 0.8 * step
    return best, value


def _staying_first(context: RoundContext, honest: int, count: int) -> RoundContext:
    """The context with the attacker's rows last."""
    rows: Sequence[int] = range(len(context.client_ids))
    order = [*rows[:honest], *rows[honest + count :], *rows[honest : honest + count]]
    return replace(context.keep(order), dropped=context.dropped)


def _is_vector(value: Any, columns: int) -> bool:
    return isinstance(value, Tensor) and value.shape == (columns,)


def _distance(updates: UpdateMatrix, step: Tensor, mean: Tensor) -> float:
    """||step - mean|| over the columns of ``updates``; a step with NaN or infinity, never taken, counts as zero."""
    square = float(updates.sum_over([step, mean], _squared_distance))
    return square**0.5 if isfinite(square) else float(updates.length(mean))


def _squared_distance(one: Tensor, other: Tensor) -> Tensor:
    return torch.linalg.vector_norm(one - other, dtype=torch.float64).square_()
