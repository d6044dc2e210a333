"""What ranks do in tests of the communicator. Their GPUs are pretended: nothing is computed there."""

import time
from collections.abc import Sequence
from types import SimpleNamespace
from unittest.mock import MagicMock, patch

import torch
import torch.distributed as dist
from torch import Tensor

from fedsim.comm import ProcessGroup, RankPlace, open_communicator
from fedsim.comm.process_group import LARGE_STEP
from fedsim.errors import FedsimError
from support.gloo_ranks import be_less_patient

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def description_with_gpus_at(place: RankPlace, buses: Sequence[int | None]) -> str:
    """How rows travel, or the error; each rank sees one GPU, on its bus, or none."""
    bus = buses[place.rank]
    properties = SimpleNamespace(
        name="H100", total_memory=80_000_000_000, pci_domain_id=0, pci_bus_id=bus, pci_device_id=0
    )
    with (
        patch("torch.cuda.set_device"),
        patch("torch.cuda.get_device_properties", lambda device: properties),
    ):
        try:
            device = CPU if bus is None else GPU
            return open_communicator(place, device, timeout=20, handler=MagicMock()).description
        except FedsimError as error:
            return f"{type(error).__name__}: {error}"


def one_gpu_each(place: RankPlace) -> str:
    return description_with_gpus_at(place, [3, 4])


def one_gpu_for_both(place: RankPlace) -> str:
    return description_with_gpus_at(place, [3, 3])


def a_gpu_for_one(place: RankPlace) -> str:
    return description_with_gpus_at(place, [3, None])


def gpus_for_two_of_four(place: RankPlace) -> str:
    return description_with_gpus_at(place, [None, 4, None, 3])


def seconds_until_a_hung_rank_0_is_noticed(place: RankPlace) -> float | None:
    """Of NCCL's broadcast, which returns as soon as it is queued; None if it is not noticed."""
    comm = open_communicator(place, CPU, timeout=30)
    queued = SimpleNamespace(device=GPU, shape=(3,), numel=lambda: 3)
    comm.barrier("start")
    be_less_patient(comm, 3)
    start = time.monotonic()
    if place.rank == 0:
        time.sleep(9)
        return None
    with (
        patch.object(comm, "_uses_nccl", True, create=True),
        patch.object(comm, "_nccl", object()),
        patch("torch.distributed.broadcast"),
    ):
        try:
            comm.broadcast(queued)  # type: ignore[arg-type]
        except FedsimError:
            return time.monotonic() - start
    return None


def what_is_said_where_nccl_fails(place: RankPlace) -> str:
    comm = ProcessGroup(place, CPU, timeout=20)
    of_nccl = (
        "NCCL error in: NCCLUtils.hpp:268\nncclSystemError: System call failed.\nLast error:\nno room in /dev/shm"
    )
    with patch("torch.distributed.broadcast", side_effect=RuntimeError(of_nccl)):
        try:
            comm.broadcast(torch.zeros(3))
        except FedsimError as error:
            return str(error)
    return "nothing"


def steps_that_travel_through_gloo(place: RankPlace) -> tuple[int, bool]:
    """How many of 20 steps do, and whether all have arrived everywhere although each follows the other at once."""
    comm = open_communicator(place, CPU, timeout=30)
    comm.open_rows(4, LARGE_STEP)
    arrived = True
    with patch("torch.distributed.broadcast", wraps=dist.broadcast) as through_gloo:
        for number in range(20):
            step = torch.full((LARGE_STEP,), float(number if place.rank == 0 else -1))
            comm.broadcast(step)
            arrived &= bool((step == number).all())
    comm.close()
    return through_gloo.call_count, arrived


def rows_of_changing_owners(place: RankPlace) -> tuple[bool, int, int]:
    """Whether rank 0 gets what was written, how many buffers a rank has used, and how many rows it owned at once.

    Of 40 clients 10 take part in each of 12 rounds, each on the rank that hosts it.
    """
    comm = open_communicator(place, CPU, timeout=30)
    with patch.object(comm, "_one_host", False):  # as on several hosts
        transport = comm.open_rows(10, 1000)
    generator = torch.Generator().manual_seed(0)
    right, most, used = True, 0, set()
    for round_index in range(12):
        clients = torch.randperm(40, generator=generator)[:10].sort().values.tolist()
        owners = [client % place.size for client in clients]
        for slot, client in enumerate(clients):
            if owners[slot] == place.rank:
                transport.row(slot).copy_(_row_of(client, round_index))
                used.add(transport.row(slot).data_ptr())
        matrix = transport.gather(owners)
        most = max(most, owners.count(place.rank))
        if matrix is not None:
            right &= torch.equal(matrix, torch.stack([_row_of(client, round_index) for client in clients]))
    comm.close()
    return right, len(used), most


def _row_of(client: int, round_index: int) -> Tensor:
    return torch.arange(1000.0) + 10_000 * client + 1_000_000 * round_index


# Some columns on each rank ------------------------------------------------------------------------------------------

RANGES = [[(0, 400), (900, 1000)], [], [(400, 900)]]
"""Columns of three ranks: rank 0 has two ranges, rank 1 has none."""


def gathered_values(place: RankPlace) -> list[list[tuple[str, list[int], list[float]]]]:
    """What all ranks gather, as dtype, shape and values: tensors of other lengths, of none, and of each dtype in use.

    Rank r gives r rows of its number; then nobody gives any.
    """
    comm = open_communicator(place, CPU, timeout=30)
    found = []
    for dtype in (torch.float32, torch.float64, torch.int64, torch.bool, torch.bfloat16):
        for rows in (comm.rank, 0):
            for shape in ((rows,), (rows, 2)):
                parts = comm.gather(torch.full(shape, comm.rank, dtype=dtype))
                found.append([(str(part.dtype), list(part.shape), part.flatten().tolist()) for part in parts])
    comm.close()
    return found


def completed_vectors(place: RankPlace) -> list[bool]:
    """Whether each rank gets what the others have, for small vectors and for those that go through shared memory."""
    comm = open_communicator(place, CPU, timeout=30)
    right = []
    for size in (1000, LARGE_STEP):
        comm.open_rows(2, size)
        ranges = [[*RANGES[0], (1000, size)], *RANGES[1:]] if size > 1000 else RANGES
        for turn in range(5):  # one at once after the other
            expected = torch.arange(float(size)) + turn
            vector = torch.full((size,), -1.0)
            for start, stop in ranges[place.rank]:
                vector[start:stop] = expected[start:stop]
            comm.complete(vector, ranges)
            right.append(torch.equal(vector, expected))
    comm.close()
    return right


def columns_of_changing_owners(place: RankPlace, *, shared: bool) -> tuple[str, bool]:
    """How rows travel, and whether every rank gets its columns of all rows, round after round.

    Some slots are owned by others than in the round before, and in some rounds a rank owns none.
    """
    comm = open_communicator(place, CPU, timeout=30)
    with patch.object(comm, "_one_host", shared):
        transport = comm.open_rows(5, 1000, RANGES)
    right = True
    for round_index, owners in enumerate([[0, 1, 2, 0, 1], [2, 2, 0, 0], [1], [0, 0, 0, 0, 0], [2, 1, 0, 2, 1]]):
        for slot, owner in enumerate(owners):
            if owner == place.rank:
                transport.row(slot).copy_(_row_of(slot, round_index))
        matrix = transport.gather(owners)
        assert matrix is not None
        whole = torch.stack([_row_of(slot, round_index) for slot in range(len(owners))])
        own = torch.cat([whole[:, :0], *(whole[:, start:stop] for start, stop in RANGES[place.rank])], dim=1)
        right &= torch.equal(matrix, whole if shared else own)
        comm.barrier("next round")
    comm.close()
    return type(transport).__name__, right


def columns_in_shared_memory(place: RankPlace) -> tuple[str, bool]:
    return columns_of_changing_owners(place, shared=True)


def columns_point_to_point(place: RankPlace) -> tuple[str, bool]:
    return columns_of_changing_owners(place, shared=False)


# On a real GPU ------------------------------------------------------------------------------------------------------


def nccl_of_one_rank(place: RankPlace) -> tuple[str, list[float], list[float]]:
    """How rows travel, a tensor after its broadcast, and the first values of two rows."""
    comm = ProcessGroup(place, GPU, timeout=30)
    tensor = torch.arange(3.0, device=GPU)
    comm.broadcast(tensor)
    transport = comm.open_rows(2, 70_000)
    for slot in range(2):
        transport.row(slot).fill_(slot + 5)
    matrix = transport.gather([0, 0])
    comm.barrier("end")
    comm.close()
    return comm.description, tensor.tolist(), matrix[:, 0].tolist()


def nccl_with_two_ranks_on_a_gpu(place: RankPlace) -> str:
    """What NCCL says to that, if fedsim lets it."""
    with patch("fedsim.comm.process_group.each_has_its_own", lambda devices: True):
        comm = open_communicator(place, GPU, timeout=30)
    try:
        comm.broadcast(torch.zeros(1, device=GPU))
    except FedsimError as error:
        return str(error)
    return "nothing"


def steps_of_a_shared_gpu(place: RankPlace) -> tuple[str, list[float]]:
    """How rows travel between ranks on one GPU, and the last values of 20 steps."""
    comm = open_communicator(place, GPU, timeout=30)
    comm.open_rows(4, LARGE_STEP)
    last = []
    for number in range(20):
        step = torch.full((LARGE_STEP,), float(number if place.rank == 0 else -1), device=GPU)
        comm.broadcast(step)
        last.append(step[-1].item())
    comm.close()
    return comm.description, last
