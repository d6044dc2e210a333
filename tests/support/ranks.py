"""What the ranks of tests/multiprocess do; run under torchrun with the scenarios' names."""

import os
import sys
import time
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import torch

from fedsim.comm import Communicator, RankPlace, open_communicator
from fedsim.comm.shared_memory import map_file
from fedsim.errors import RankError
from support.gloo_ranks import be_less_patient


def check_rows(comm: Communicator, kind: str) -> None:
    """More clients than ranks, two rounds, changing owners: rank 0 sees exactly what was written."""
    transport = comm.open_rows(5, 70_000)
    assert type(transport).__name__ == kind, type(transport)
    for round_index in range(2):
        owners = [(client + round_index) % comm.size for client in range(5 - round_index)]
        for slot, owner in enumerate(owners):
            if owner == comm.rank:
                transport.row(slot).copy_(torch.arange(70_000.0) + 1000 * round_index + slot)
        matrix = transport.gather(owners)
        assert (matrix is None) == (comm.rank != 0)
        if matrix is not None:
            expected = torch.stack(
                [torch.arange(70_000.0) + 1000 * round_index + slot for slot in range(len(owners))]
            )
            assert torch.equal(matrix, expected)
        comm.barrier("next round")


def shared(comm: Communicator) -> None:
    """At no moment, so that a kill leaves nothing, has the memory a name."""
    names = []

    def and_look(*facts: Any) -> torch.Tensor | None:
        names.extend(os.listdir("/dev/shm"))
        return map_file(*facts)

    with patch("fedsim.comm.process_group.map_file", and_look):
        check_rows(comm, "SharedRows")
    names.extend(os.listdir("/dev/shm"))
    assert not [name for name in names if name.startswith("fedsim")]


def point_to_point(comm: Communicator) -> None:
    with patch.object(comm, "_one_host", False):  # as on several hosts
        check_rows(comm, "PointToPointRows")


def no_room(comm: Communicator) -> None:
    """Shared memory that cannot be reserved: all ranks agree on point to point."""
    with patch("fedsim.comm.process_group.reserved_file", lambda values: nullcontext("")):
        check_rows(comm, "PointToPointRows")


def one_rank_cannot_map(comm: Communicator) -> None:
    cannot = patch("fedsim.comm.process_group.map_file", lambda path, slots, columns: None)
    with cannot if comm.rank == 1 else nullcontext():
        check_rows(comm, "PointToPointRows")


def exchange(comm: Communicator) -> None:
    tensor = torch.full((3,), float(comm.rank + 7))
    comm.broadcast(tensor)
    assert tensor.tolist() == [7.0] * 3
    assert comm.all_gather(torch.tensor([comm.rank])).flatten().tolist() == list(range(comm.size))
    assert comm.share_text(f"ranké {comm.rank}") == "ranké 0"
    order = []
    with comm.first_on_each_host("load"):
        order.append(time.monotonic())
    times = comm.all_gather(torch.tensor(order, dtype=torch.float64)).flatten()
    assert times.argmin() == 0


def missing(comm: Communicator) -> None:
    """Rank 1 does not come; rank 0 names it and the phase."""
    be_less_patient(comm, 3)
    if comm.rank == 1:
        time.sleep(9)
        os._exit(0)
    try:
        comm.barrier("gather")
    except RankError as error:
        sys.stderr.write(f"rank {comm.rank} says: {error}\n")
    os._exit(0)


if __name__ == "__main__":
    scenarios = sys.argv[1:]
    communicator = open_communicator(RankPlace.from_environment(), torch.device("cpu"), timeout=60)
    for scenario in scenarios:
        globals()[scenario](communicator)
    communicator.close()
