"""The server on some columns of the rows on every rank, against the server whole on rank 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fedsim.aggregators import aggregators
from fedsim.benchmark.between_ranks import in_turn
from fedsim.benchmark.matrix import MatrixCase
from fedsim.benchmark.measure import Reading
from fedsim.comm import Communicator
from fedsim.updates.columns import Columns
from fedsim.updates.matrix import UpdateMatrix, cut_columns


def time_sharded(comm: Communicator, case: MatrixCase, names: Sequence[str]) -> list[Reading]:
    """A reading of each aggregator, from a barrier until the last rank has its part of the step.

    The rows lie where a run would have them: in memory that all ranks share, or some columns on each rank.

    Raises:
        AssertionError: the two steps differ in a bit.
    """
    columns = cut_columns(case.columns, case.clients, comm.device, comm)
    rows = case.rows() if comm.rank == 0 or not comm.shares_memory else torch.empty(0, case.columns)
    mine = _columns_here(comm, case, columns, rows)
    return [_time(comm, case, name, rows, mine, columns) for name in names]


def _columns_here(comm: Communicator, case: MatrixCase, columns: Columns, rows: Tensor) -> Tensor:
    """This rank's columns [K, n] of the rows of rank 0."""
    ranges = [[piece] for piece in zip(columns.bounds, columns.bounds[1:], strict=False)]
    transport = comm.open_rows(case.clients, case.columns, ranges)
    if comm.rank == 0:
        for slot, row in enumerate(rows):
            transport.row(slot).copy_(row)
    gathered = transport.gather([0] * case.clients)
    assert gathered is not None
    gathered = columns.cut_out(gathered) if gathered.shape[1] == case.columns else gathered
    return gathered.to(comm.device)


def _time(comm: Communicator, case: MatrixCase, name: str, rows: Tensor, mine: Tensor, columns: Columns) -> Reading:
    context = case.context()
    steps: dict[str, Tensor] = {}

    def whole() -> None:
        if comm.rank == 0:
            steps["whole"] = aggregators.build(name)(UpdateMatrix(rows), context)

    def sharded() -> None:
        here = replace(case.context(), columns=columns)
        steps["sharded"] = aggregators.build(name)(UpdateMatrix(mine, columns=columns), here)

    works: dict[str, Callable[[], None]] = {"sharded": sharded, "whole": whole}
    for work in works.values():
        work()
    if comm.rank == 0:
        assert torch.equal(steps["sharded"], columns.cut_out(steps["whole"])), f"{name} gives other bits when sharded"
    times = in_turn(comm, works, case.repeats, comm.device, until_all=True)
    return Reading.of(name, times["sharded"], times["whole"])
