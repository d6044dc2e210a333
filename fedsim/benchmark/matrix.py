"""Aggregators and attacks against one read of the matrix: no rule that looks at every value is faster."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedsim.aggregators import Aggregator, aggregators
from fedsim.attacks import Attack, AttackView, attacks
from fedsim.benchmark.measure import Reading, Work, measure, tensor_bytes
from fedsim.errors import FedsimWarning
from fedsim.updates.column_maps import EAGER, MapRunner
from fedsim.updates.compiled_maps import CompiledMaps
from fedsim.updates.context import RoundContext
from fedsim.updates.layout import RowLayout


@dataclass(frozen=True, kw_only=True)
class MatrixCase:
    """The matrix of a benchmark: K rows of D coordinates, the last B of them Byzantine."""

    clients: int
    byzantine: int
    columns: int
    device: torch.device
    repeats: int
    seed: int = 0
    maps: MapRunner = EAGER

    def rows(self) -> Tensor:
        """Rows [K, D] that share a direction and differ by more than that, as updates do."""
        generator = torch.Generator(self.device).manual_seed(self.seed)
        rows = torch.randn(self.clients, self.columns, generator=generator, device=self.device)
        shared = torch.randn(self.columns, generator=generator, device=self.device)
        return rows.add_(shared, alpha=0.5).mul_(1e-3)

    def honest(self, rows: Tensor) -> Tensor:
        """Those [H, D] of the rows."""
        return rows[: self.clients - self.byzantine]

    def context(self, round_index: int = 0, last_step: Tensor | None = None) -> RoundContext:
        return RoundContext(
            round=round_index,
            client_ids=tuple(range(self.clients)),
            layout=square_layers(self.columns),
            last_step=last_step,
            generator=torch.Generator().manual_seed(self.seed + round_index),
            maps=self.maps,
        )


def square_layers(columns: int, largest: int = 1024) -> RowLayout:
    """A layout of D coordinates: square weight matrices, and a bias of what is left.

    >>> square_layers(1024 * 1024 + 5).shapes
    {'layer0.weight': (1024, 1024), 'layer1.weight': (2, 2), 'bias': (1,)}
    """
    shapes: dict[str, tuple[int, ...]] = {}
    while (side := min(largest, int(columns**0.5))) > 1:
        shapes[f"layer{len(shapes)}.weight"] = (side, side)
        columns -= side * side
    return RowLayout({**shapes, "bias": (columns,)} if columns else shapes)


class Rounds:
    """Calls an aggregator round after round, each with the step of the one before, as a run does."""

    def __init__(self, aggregator: Aggregator, rows: Tensor, case: MatrixCase) -> None:
        self._aggregator, self._rows, self._case = aggregator, rows, case
        self._round, self._last_step = 0, None  # type: int, Tensor | None

    def __call__(self) -> None:
        # A matrix made again: what it has cached would not be there in another round either.
        context = self._case.context(self._round, self._last_step)
        self._last_step = self._aggregator(context.matrix(self._rows), context)
        self._round += 1

    def kept(self) -> int:
        """Bytes of the aggregator's state."""
        return tensor_bytes(self._aggregator.state_dict())


class Forgery:
    """Crafts the rows of an attack, round after round."""

    def __init__(self, attack: Attack, aggregator: Aggregator, rows: Tensor, case: MatrixCase) -> None:
        self._attack, self._case, self._round = attack, case, 0
        self._honest = case.honest(rows)
        self._own = rows[len(self._honest) :]
        self._probe = aggregator if attack.probes else None

    def __call__(self) -> None:
        context = self._case.context(self._round)
        honest, own = context.matrix(self._honest), context.matrix(self._own)
        self._attack(AttackView(honest=honest, own=own, aggregator=self._probe, context=context))
        self._round += 1

    def kept(self) -> int:
        """Bytes of the attack's state."""
        return tensor_bytes(self._attack.state_dict())


def one_read(what: str) -> str:
    """The yardstick in words."""
    return f"one read of the {what}, the sum of all elements"


def time_yardsticks(case: MatrixCase) -> Iterator[Reading]:
    """What else one could hold a method against, in reads of the honest rows: copies, and the read itself.

    A clone writes to new memory, whose pages the system gives and clears one by one.
    """
    rows = case.honest(case.rows())
    warm = rows.clone()
    yardsticks: dict[str, Work] = {
        "(read)": rows.sum,
        "(copy into warm memory)": lambda: warm.copy_(rows),
        "(clone)": rows.clone,
    }
    for name, work in yardsticks.items():
        yield replace(measure(name, work, rows.sum, case.repeats, case.device), extra_bytes=None)


def time_aggregators(case: MatrixCase, names: Sequence[str], *, compiled: bool = False) -> Iterator[Reading]:
    """A reading of each aggregator, in reads of the matrix [K, D].

    Args:
        compiled: compile column maps; what that takes is a figure of its own.
    """
    rows = case.rows()
    for name in names:
        with _compiling(case, compiled) as (of_one, figures):
            work = Rounds(aggregators.build(name), rows, of_one)
            reading = measure(name, work, rows.sum, case.repeats, case.device, work.kept)
        yield replace(reading, figures=figures)


def time_attacks(
    case: MatrixCase, names: Sequence[str], aggregator: str, *, compiled: bool = False
) -> Iterator[Reading]:
    """A reading of each attack, in reads of the honest rows [H, D]; some probe the aggregator."""
    rows = case.rows()
    for name in names:
        with _compiling(case, compiled) as (of_one, figures):
            work = Forgery(attacks.build(name), aggregators.build(aggregator), rows, of_one)
            reading = measure(name, work, case.honest(rows).sum, case.repeats, case.device, work.kept)
        yield replace(reading, figures=figures)


@contextmanager
def _compiling(case: MatrixCase, compiled: bool) -> Iterator[tuple[MatrixCase, dict[str, float | None]]]:
    """The case with maps that are compiled, and in the end what that took; or the case as it is."""
    figures: dict[str, float | None] = {}
    if not compiled:
        yield case, figures
        return
    maps = CompiledMaps(lambda sentence: warnings.warn(sentence, FedsimWarning, stacklevel=2))
    yield replace(case, maps=maps), figures
    figures |= {"maps compiled": maps.number, "s to compile": maps.seconds}
