"""The gather of the clients' rows on rank 0, against copying them there and against ``dist.gather``."""

from __future__ import annotations

import torch
import torch.distributed as dist

from fedsim.benchmark.between_ranks import in_turn
from fedsim.benchmark.measure import Reading
from fedsim.comm import Communicator


def time_gather(comm: Communicator, columns: int, repeats: int) -> list[Reading]:
    """Readings of fedsim's gather and of ``dist.gather``, both in copies of the matrix on rank 0.

    Every rank holds one row of D values, as a client does after its local work; the clock of rank 0 runs
    from a barrier until the whole matrix [W, D] is there.

    Raises:
        RankError: what arrived is not what was sent.
    """
    owners = list(range(comm.size))
    own = torch.full((columns,), float(comm.rank), device=comm.row_device)
    transport = comm.open_rows(comm.size, columns)
    matrix = torch.empty(comm.size, columns, device=comm.row_device)
    target = torch.empty_like(matrix)
    list_on_rank_0 = list(matrix.unbind(0)) if comm.rank == 0 else None

    def ours() -> None:
        transport.row(comm.rank).copy_(own)
        rows = transport.gather(owners)
        assert rows is None or rows[:, -1].tolist() == owners, "the rows that arrived are not those that were sent"

    def library() -> None:
        if comm.size > 1:
            dist.gather(own, list_on_rank_0)
        else:
            matrix[0].copy_(own)

    def copy() -> None:
        if comm.rank == 0:
            target.copy_(matrix)

    works = {"fedsim": ours, "dist.gather": library, "copy": copy}
    for work in works.values():
        work()
    times = in_turn(comm, works, repeats, comm.row_device, until_all=False)
    return [Reading.of(name, times[name], times["copy"]) for name in ("fedsim", "dist.gather")]
