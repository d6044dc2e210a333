"""The facts of a round that an aggregator or an attack may ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedsim.errors import ConfigError
from fedsim.seeds import derive_generator
from fedsim.updates.column_maps import EAGER, MapRunner
from fedsim.updates.columns import Columns
from fedsim.updates.layout import RowLayout
from fedsim.updates.matrix import UpdateMatrix


@dataclass(frozen=True, kw_only=True)
class RoundContext:
    """What is known in a round besides the rows.

    Attributes:
        round: number of the round, from 0.
        client_ids: row i of the matrix belongs to client ``client_ids[i]``; per-client state is keyed by it.
        dropped: how many rows of this round were left out before (non-finite); they count against f.
        merged: whether the rows are means of several clients' rows; where there are too few of them for f, a method
            takes the most they allow.
        layout: where each parameter lies in the row, if known.
        last_step: the step [D] of the round before, if there was one.
        weights: the global values [D] that the clients started from, for attacks that declare to need them.
        generator: randomness of this round, if the caller gives one.
        sample_counts: how many training samples each client says it has, if known; a Byzantine one may lie.
        columns: which coordinates of vectors over the row lie here, if they are distributed over ranks.
        maps: who runs the column maps of matrices that are made here.
    """

    round: int = 0
    client_ids: tuple[int, ...] = ()
    dropped: int = 0
    merged: bool = False
    layout: RowLayout | None = None
    last_step: Tensor | None = None
    weights: Tensor | None = None
    generator: torch.Generator | None = None
    sample_counts: tuple[int, ...] | None = None
    columns: Columns | None = None
    maps: MapRunner = EAGER

    @classmethod
    def of(cls, num_rows: int) -> RoundContext:
        """The context of plain rows in a notebook: clients 0 to K-1 in round 0."""
        return cls(client_ids=tuple(range(num_rows)))

    def randomness(self) -> torch.Generator:
        """The generator of the round; where the caller gave none, one that depends on the round alone."""
        return derive_generator(0, "round", self.round) if self.generator is None else self.generator

    def seed(self) -> int:
        """What the randomness of the round derives from, whatever has been drawn."""
        return self.randomness().initial_seed()

    def matrix(self, vectors: Tensor) -> UpdateMatrix:
        """Vectors [n, D] over the row, of which perhaps some coordinates lie here, as an update matrix."""
        return UpdateMatrix(vectors, columns=self.columns, maps=self.maps)

    def in_id_order(self) -> list[int]:
        """Positions of the rows by client id: random choices made in this order do not depend on that of the rows."""
        return sorted(range(len(self.client_ids)), key=self.client_ids.__getitem__)

    def reported_counts(self, setting: str) -> Tensor:
        """The clients' sample counts [K], float64.

        Raises:
            ConfigError: they are not known here; the message names the ``setting`` that needs them.
        """
        if self.sample_counts is None:
            problem = "needs the sample counts of single clients, which are not known here"
            raise ConfigError(setting, problem, "give RoundContext(sample_counts=...), or use no bucketing in a run")
        return torch.tensor(self.sample_counts, dtype=torch.float64)

    def of_groups(self, count: int) -> RoundContext:
        """The context of ``count`` rows that stand for several clients each: numbered from 0, not ids of clients."""
        return replace(self, client_ids=tuple(range(count)), sample_counts=None, merged=True)

    def keep(self, rows: Sequence[int]) -> RoundContext:
        """The context after all but these rows were dropped."""
        ids = tuple(self.client_ids[row] for row in rows)
        counts = None if self.sample_counts is None else tuple(self.sample_counts[row] for row in rows)
        return replace(
            self, client_ids=ids, sample_counts=counts, dropped=self.dropped + len(self.client_ids) - len(ids)
        )
