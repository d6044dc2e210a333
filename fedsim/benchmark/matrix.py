"""Aggregators and attacks against a copy of the matrix that they read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fedsim.aggregators import Aggregator, aggregators
from fedsim.attacks import Attack, AttackView, attacks
from fedsim.benchmark.measure import Reading, measure, tensor_bytes
from fedsim.updates.context import RoundContext
from fedsim.updates.layout import RowLayout
from fedsim.updates.matrix import UpdateMatrix


@dataclass(frozen=True, kw_only=True)
class MatrixCase:
    """The matrix of a benchmark: K rows of D coordinates, the last B of them Byzantine."""

    clients: int
    byzantine: int
    columns: int
    device: torch.device
    repeats: int
    seed: int = 0

    def rows(self) -> Tensor:
        """Rows [K, D] that share a direction and differ by more than that, as updates do."""
        generator = torch.Generator(self.device).manual_seed(self.seed)
        rows = torch.randn(self.clients, self.columns, generator=generator, device=self.device)
        shared = torch.randn(self.columns, generator=generator, device=self.device)
        return rows.add_(shared, alpha=0.5).mul_(1e-3)

    def context(self, round_index: int = 0, last_step: Tensor | None = None) -> RoundContext:
        return RoundContext(
            round=round_index,
            client_ids=tuple(range(self.clients)),
            layout=square_layers(self.columns),
            last_step=last_step,
            generator=torch.Generator().manual_seed(self.seed + round_index),
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
        updates, context = UpdateMatrix(self._rows), self._case.context(self._round, self._last_step)
        self._last_step = self._aggregator(updates, context)
        self._round += 1

    def kept(self) -> int:
        """Bytes of the aggregator's state."""
        return tensor_bytes(self._aggregator.state_dict())


class Forgery:
    """Crafts the rows of an attack, round after round."""

    def __init__(self, attack: Attack, aggregator: Aggregator, rows: Tensor, case: MatrixCase) -> None:
        honest = case.clients - case.byzantine
        self._attack, self._case, self._round = attack, case, 0
        self._honest, self._own = rows[:honest], rows[honest:]
        self._probe = aggregator if attack.probes else None

    def __call__(self) -> None:
        honest, own = UpdateMatrix(self._honest), UpdateMatrix(self._own)
        context = self._case.context(self._round)
        self._attack(AttackView(honest=honest, own=own, aggregator=self._probe, context=context))
        self._round += 1

    def kept(self) -> int:
        """Bytes of the attack's state."""
        return tensor_bytes(self._attack.state_dict())


def time_aggregators(case: MatrixCase, names: Sequence[str]) -> Iterator[Reading]:
    """A reading of each aggregator, in copies of the matrix [K, D]."""
    rows = case.rows()
    for name in names:
        work = Rounds(aggregators.build(name), rows, case)
        yield measure(name, work, rows.clone, case.repeats, case.device, work.kept)


def time_attacks(case: MatrixCase, names: Sequence[str], aggregator: str) -> Iterator[Reading]:
    """A reading of each attack, in copies of the honest rows [H, D]; some probe the aggregator."""
    rows = case.rows()
    copy = rows[: case.clients - case.byzantine].clone
    for name in names:
        work = Forgery(attacks.build(name), aggregators.build(aggregator), rows, case)
        yield measure(name, work, copy, case.repeats, case.device, work.kept)
