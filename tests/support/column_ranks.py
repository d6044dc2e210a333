"""An update matrix that is distributed by columns over ranks, which here are threads of one process."""

import copy
import threading
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor

from fedsim.aggregators.base import Diagnostics
from fedsim.attacks import Attack, AttackView
from fedsim.attacks.probe import Probe
from fedsim.errors import FedsimWarning
from fedsim.updates import matrix, random_rows
from fedsim.updates.columns import Columns, Exchange
from fedsim.updates.context import RoundContext
from fedsim.updates.derived import DerivedRows, ExtendedRows, MixedRows, ScaledRows, SelectedRows
from fedsim.updates.matrix import UpdateMatrix, cut_columns
from support.aggregation import assert_same

T = TypeVar("T")


def without_locks(*classes: type) -> None:
    """Until Python 3.12 only one thread at a time may compute a cached property, where ranks wait for each other."""
    for cls in classes:
        for value in vars(cls).values():
            if isinstance(value, cached_property):
                value.lock = nullcontext()  # type: ignore[attr-defined]


without_locks(UpdateMatrix, DerivedRows, SelectedRows, ScaledRows, MixedRows, ExtendedRows, Columns, Probe)


class Ring:
    """Where threads leave what they gather; a thread that fails wakes the others."""

    def __init__(self, size: int) -> None:
        # Two places for each thread, used in turn: nobody writes where another still reads.
        self.parts = [[torch.empty(0)] * size for _ in range(2)]
        self.barrier = threading.Barrier(size)


class ThreadExchange:
    """The exchange of one of the threads."""

    def __init__(self, rank: int, ring: Ring) -> None:
        self.rank, self.size, self._ring = rank, ring.barrier.parties, ring
        self._turn = 0

    def gather(self, values: Tensor) -> list[Tensor]:
        self._turn = 1 - self._turn
        parts = self._ring.parts[self._turn]
        parts[self.rank] = values.clone()
        self._ring.barrier.wait(timeout=60)
        return [part.clone() for part in parts]


def on_column_ranks(size: int, work: Callable[[Exchange], T]) -> list[T]:
    """What ``work`` returns on each of so many ranks. Warnings are ignored: all threads have the same filters."""
    ring = Ring(size)

    def one(rank: int) -> T:
        try:
            return work(ThreadExchange(rank, ring))
        except BaseException:
            ring.barrier.abort()
            raise

    with warnings.catch_warnings(), ThreadPoolExecutor(size) as pool:
        warnings.simplefilter("ignore", FedsimWarning)
        futures = [pool.submit(one, rank) for rank in range(size)]
        failures = [error for future in futures if (error := future.exception(timeout=120)) is not None]
        real = [error for error in failures if not isinstance(error, threading.BrokenBarrierError)]
        if failures:
            raise (real or failures)[0]
        return [future.result() for future in futures]


def columns_of(rows: Tensor, exchange: Exchange) -> Columns:
    return cut_columns(rows.shape[-1], rows.shape[0], rows.device, exchange)


def piece_of(rows: Tensor, exchange: Exchange) -> UpdateMatrix:
    """The part of the matrix [K, D] that lies on one of the ranks."""
    columns = columns_of(rows, exchange)
    return UpdateMatrix(columns.cut_out(rows).clone(), columns=columns)


def context_here(context: RoundContext, columns: Columns) -> RoundContext:
    """The context as one of the ranks has it: its part of the vectors, and the same randomness as on the others."""
    return replace(
        context,
        columns=columns,
        generator=copy.deepcopy(context.generator),
        last_step=None if context.last_step is None else columns.cut_out(context.last_step),
        weights=None if context.weights is None else columns.cut_out(context.weights),
    )


def whole_of(updates: UpdateMatrix, vector: Tensor | None = None) -> Tensor:
    """A vector [D] over the columns, or all rows [K, D]: put together from what the ranks have, on each of them."""
    if vector is not None:
        return updates._columns.concatenate_rows(vector[None])[0]
    return updates._columns.concatenate_rows(updates.local_rows())


def distributed(rows: Tensor, size: int, work: Callable[[UpdateMatrix], T]) -> list[T]:
    """What ``work`` makes of the part of ``rows`` [K, D] on each of so many ranks."""
    return on_column_ranks(size, lambda exchange: work(piece_of(rows, exchange)))


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Vectors [..., D] of which each rank has some coordinates."""
    return torch.cat(list(parts), dim=-1)


def the_same(parts: Sequence[T]) -> T:
    """What all ranks say."""
    for part in parts[1:]:
        assert_same(part, parts[0])
    return parts[0]


Form = Callable[[Tensor, Callable[[UpdateMatrix], Any]], list[Any]]
"""What some work makes of an update matrix with these rows, on each rank that has a part of it."""

FORMS: list[Form] = [
    lambda rows, work: [work(UpdateMatrix(rows))],
    lambda rows, work: distributed(rows, 3, work),
]
both_forms = pytest.mark.parametrize("form", FORMS, ids=["whole", "distributed"])


def shrink_blocks(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Let few columns be many blocks."""
    monkeypatch.setattr(matrix, "BLOCK", width)
    monkeypatch.setattr(random_rows, "BLOCK", width)


def joined_state(states: Sequence[Any]) -> Any:
    """The states of the ranks as one, in which every tensor is a vector over the columns."""
    first = states[0]
    if isinstance(first, Tensor):
        return joined(states)
    if isinstance(first, dict):
        return {
            key: joined_state([state[key] for state in states]) for key in the_same([list(one) for one in states])
        }
    if isinstance(first, list | tuple):
        return [joined_state(of_ranks) for of_ranks in zip(*states, strict=True)]
    return the_same(states)


class AggregatorOnRanks:
    """An aggregator or a defence of which each rank has a copy, for its columns; called like the aggregator is."""

    def __init__(self, aggregator: Any, size: int) -> None:
        self.ranks = [copy.deepcopy(aggregator) for _ in range(size)]

    def __call__(self, rows: Tensor, context: RoundContext | None = None) -> Tensor:
        facts = context or RoundContext.of(len(rows))

        def step(exchange: Exchange) -> Tensor:
            piece = piece_of(rows, exchange)
            return self.ranks[exchange.rank](piece, context_here(facts, piece._columns))

        return joined(on_column_ranks(len(self.ranks), step))

    @property
    def diagnostics(self) -> Diagnostics:
        return the_same([rank.diagnostics for rank in self.ranks])

    def state_dict(self) -> dict[str, Any]:
        return joined_state([rank.state_dict() for rank in self.ranks])


class AttackOnRanks:
    """An attack of which each rank has a copy for its columns; called like the attack itself."""

    def __init__(self, attack: Attack, size: int) -> None:
        self.ranks = [copy.deepcopy(attack) for _ in range(size)]

    def __call__(self, view: AttackView) -> Tensor:
        def act(exchange: Exchange) -> Tensor:
            attack, seen = self.ranks[exchange.rank], view_here(view, exchange)
            attack.observe(seen.facts)
            return attack(seen).clone()

        return joined(on_column_ranks(len(self.ranks), act))

    @property
    def diagnostics(self) -> dict[str, float]:
        return the_same([rank.diagnostics for rank in self.ranks])

    def state_dict(self) -> dict[str, Any]:
        return joined_state([rank.state_dict() for rank in self.ranks])


def view_here(view: AttackView, exchange: Exchange) -> AttackView:
    """What an attack sees on one of the ranks."""
    columns = columns_of(view.own.tensor(), exchange)
    here = {
        name: UpdateMatrix(columns.cut_out(rows.tensor()).clone(), columns=columns)
        for name in ("honest", "own", "accomplices")
        if (rows := getattr(view, name)) is not None
    }
    context = context_here(view.facts, columns)
    return replace(view, aggregator=copy.deepcopy(view.aggregator), context=context, **here)
