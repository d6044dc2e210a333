"""What memory ranks take in a round whose server works on some columns, or whole on rank 0."""

import re
from pathlib import Path
from unittest.mock import patch

import torch

from fedsim.aggregators import build_aggregator
from fedsim.aggregators.defence import Defence
from fedsim.attacks import build_attack
from fedsim.comm import RankPlace, open_communicator
from fedsim.records.phases import Phases
from fedsim.server.round import NoOpRound, ServerRound, WorkingRound
from fedsim.server.server import Server
from fedsim.training.optimizers import optimizer_maker
from fedsim.updates.layout import RowLayout
from fedsim.updates.row_columns import RowColumns
from support.attack_views import lone_adversary

CPU = torch.device("cpu")
CLIENTS, COLUMNS = 32, 4_000_000
MATRIX = 4 * CLIENTS * COLUMNS
VECTOR = 4 * COLUMNS


def memory(which: str) -> int:
    """Bytes of this process: ``VmRSS`` now, ``VmHWM`` at the most."""
    said = Path("/proc/self/status").read_text()
    found = re.search(rf"{which}:\s+(\d+) kB", said)
    assert found is not None
    return 1024 * int(found[1])


def peak_of_a_sharded_round(place: RankPlace) -> int:
    return peak_of_a_round(place, sharded=True)


def peak_of_a_whole_round(place: RankPlace) -> int:
    return peak_of_a_round(place, sharded=False)


def peak_of_a_round(place: RankPlace, *, sharded: bool) -> int:
    """Most bytes that this rank has taken beyond what it had before its transport was opened; hosts are pretended."""
    torch.set_num_threads(1)
    comm = open_communicator(place, CPU, timeout=120)
    play(working_round(RowColumns(1000, 0)), torch.ones(8, 1000), 1000)  # loads what is lazy
    columns = RowColumns(COLUMNS, 0)
    if sharded:
        columns = RowColumns.distributed(COLUMNS, 0, comm, in_row=False, rows=CLIENTS, device=CPU)
    works = sharded or comm.rank == 0
    before = memory("VmRSS")
    subject: ServerRound = working_round(columns) if works else NoOpRound(columns)
    with patch.object(comm, "_one_host", False):
        transport = comm.open_rows(CLIENTS, COLUMNS, columns.ranges if sharded else None)
    owners = [slot % comm.size for slot in range(CLIENTS)]
    for slot, owner in enumerate(owners):
        if owner == comm.rank:
            transport.row(slot).fill_(1 + slot)
    comm.complete(play(subject, transport.gather(owners), COLUMNS), subject.ranges)
    peak = memory("VmHWM") - before
    comm.barrier("end")
    comm.close()
    return peak


def working_round(columns: RowColumns) -> WorkingRound:
    server = Server(
        Defence(build_aggregator("cwtm")),
        None,
        optimizer_maker("sgd", {"lr": 1.0}, "server.optimizer"),
        "drop",
        columns.parameters,
        torch.zeros(0, dtype=torch.bool),
        columns=columns,
    )
    adversary, layout = lone_adversary([7], build_attack("ipm")), RowLayout({"weight": (columns.parameters,)})
    return WorkingRound(adversary, server, layout, seed=0, phases=Phases())


def play(subject: ServerRound, rows: torch.Tensor | None, columns: int) -> torch.Tensor:
    clients = range(CLIENTS if rows is None else len(rows))
    return subject.aggregate(rows, torch.zeros(columns), 0, clients).step
