"""A model of what a round costs, its constants fitted to what ``python -m fedsim.benchmark scaling`` has measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf
from statistics import median
from typing import Any

import numpy as np
from scipy.optimize import nnls

BYTES = 4
"""Of a value in a row."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where a round runs.

    Attributes:
        bandwidth: bytes per second between two hosts.
        sharded: whether every rank works on its own columns, instead of rank 0 on all.
    """

    ranks: int = 1
    hosts: int = 1
    bandwidth: float = inf
    sharded: bool = False


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Seconds of one core, fitted.

    Attributes:
        per_client: local work of a client.
        attack: for each of the K·D values.
        diagnose: for each of the K·D values.
        values: of each aggregator, for each of the K·D values.
        growth: of each aggregator, for each of the K·D values and each client: products of pairs, sorting.
        evaluation: of all test samples.
        records: of a round.
        record: for each client, beside that.
    """

    per_client: float
    attack: float
    diagnose: float
    values: Mapping[str, float]
    growth: Mapping[str, float]
    evaluation: float
    records: float
    record: float

    @classmethod
    def fit(cls, readings: Sequence[Mapping[str, Any]]) -> CostModel:
        """The model of the readings of a report; their names begin with the aggregator's."""
        measured = [(reading["name"].split(",")[0], reading["figures"]) for reading in readings if reading["seconds"]]
        fitted = {name: _fit_aggregator(_of(name, measured)) for name, _ in measured}
        figures = [one for _, one in measured]
        records, record = _fit(figures, "record", lambda one: (1.0, one["clients"]))
        per_value = {
            phase: median(_seconds(one, phase) / (one["clients"] * one["D"]) for one in figures)
            for phase in ("attack", "diagnose")
        }
        return cls(
            per_client=median(_seconds(one, "local_work") / one["clients"] * one["ranks"] for one in figures),
            attack=per_value["attack"],
            diagnose=per_value["diagnose"],
            values={name: values for name, (values, _) in fitted.items()},
            growth={name: growth for name, (_, growth) in fitted.items()},
            evaluation=median(_seconds(one, "evaluate") * one["ranks"] for one in figures),
            records=records,
            record=record,
        )

    def local_work(self, clients: int, cluster: Cluster) -> float:
        """Of the rank with the most clients."""
        return ceil(clients / cluster.ranks) * self.per_client

    def gather(self, clients: int, columns: int, cluster: Cluster) -> float:
        """Until the rows are where the server works; on one host they are written there.

        Rank 0 receives the rows of all other hosts; with a sharded server each host receives its columns of them.
        """
        sent = BYTES * clients * columns * (1 - 1 / cluster.hosts)
        return sent / cluster.bandwidth / (cluster.hosts if cluster.sharded else 1)

    def server(self, aggregator: str, clients: int, columns: int, cluster: Cluster) -> float:
        """Attack, aggregation and diagnosis."""
        values = (self.attack + self.diagnose + self.values[aggregator]) * clients * columns
        growth = self.growth[aggregator] * clients**2 * columns
        return (values + growth) / (cluster.ranks if cluster.sharded else 1)

    def broadcast(self, columns: int, cluster: Cluster) -> float:
        """Of the step, from one host to the next."""
        return 0.0 if cluster.hosts == 1 else BYTES * columns / cluster.bandwidth

    def round(self, aggregator: str, clients: int, columns: int, cluster: Cluster) -> float:
        """Of a whole round."""
        return (
            self.local_work(clients, cluster)
            + self.gather(clients, columns, cluster)
            + self.server(aggregator, clients, columns, cluster)
            + self.broadcast(columns, cluster)
            + self.evaluation / cluster.ranks
            + self.records
            + self.record * clients
        )

    def growth_dominates_from(self, aggregator: str) -> float:
        """Clients from which what grows with their number costs more than everything else that the server does."""
        growth = self.growth[aggregator]
        return (self.attack + self.diagnose + self.values[aggregator]) / growth if growth else inf


def memory(clients: int, columns: int, cluster: Cluster) -> float:
    """Bytes of rows on the rank that holds the most.

    It is the matrix, or a part of it; from two hosts on also the rank's own rows, of which others have columns.
    """
    if not cluster.sharded:
        return BYTES * clients * columns
    own = ceil(clients / cluster.ranks) if cluster.hosts > 1 else 0
    return BYTES * columns * (clients / cluster.ranks + own)


def _of(name: str, measured: Sequence[tuple[str, Mapping[str, float]]]) -> list[Mapping[str, float]]:
    return [figures for one, figures in measured if one == name]


def _fit_aggregator(figures: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    """What an aggregator costs for each value, and for each value and client."""
    return _fit(figures, "aggregate", lambda one: (one["clients"] * one["D"], one["clients"] ** 2 * one["D"]))


def _fit(
    figures: Sequence[Mapping[str, float]], phase: str, terms: Callable[[Mapping[str, float]], tuple[float, float]]
) -> tuple[float, float]:
    """Two factors, not negative, whose terms add up to the seconds of a phase: least squares of relative errors."""
    seconds = np.array([_seconds(one, phase) for one in figures])
    if not seconds.all():  # a phase that these rounds did not have
        return 0.0, 0.0
    relative = np.array([terms(one) for one in figures]) / seconds[:, None]
    scale = relative.max(axis=0)
    (first, second), _ = nnls(relative / scale, np.ones(len(seconds)))
    return float(first / scale[0]), float(second / scale[1])


def _seconds(figures: Mapping[str, float], phase: str) -> float:
    """Of a phase of the whole round; figures are milliseconds for each client."""
    return figures.get(phase, 0.0) * figures["clients"] / 1e3
