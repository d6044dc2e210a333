"""Whether the server works whole on rank 0, or on some columns of the rows on every rank."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from fedsim.comm import Communicator
from fedsim.errors import ConfigError
from fedsim.machine import available_memory, byte_size, processor
from fedsim.training.vectorized_checks import require_elementwise
from fedsim.updates.row_columns import RowColumns

if TYPE_CHECKING:
    from fedsim.build.components import Components

log = logging.getLogger(__name__)

FLOAT32_BYTES = 4
ROOM = 1.5
"""How much memory rank 0 needs, in units of the matrix: beside it lie an attacker's rows and a method's history."""


def server_columns(components: Components, comm: Communicator, parameters: int, buffers: int) -> RowColumns:
    """The columns of a round's rows on which the server of this rank works; every rank calls it alike.

    ``server.sharded: auto`` distributes them where the rows of a round do not fit into the memory of rank 0. Where
    ranks share memory there is only one matrix, which lies whole there in either case.
    """
    config = components.config
    in_row = components.buffer_aggregator is None
    whole = RowColumns(parameters, buffers, in_row)
    if comm.size == 1 or config.clients.count == 1 or not _is_wanted(components, comm, whole):
        return whole
    obstacles = [*_obstacles(components), *_differences(comm)]
    if obstacles:
        if comm.rank == 0:
            log.warning("server.sharded: the server works whole on rank 0, for %s", obstacles[0])
        return whole
    rows, device = config.participants_per_round, comm.device
    return RowColumns.distributed(parameters, buffers, comm, in_row=in_row, rows=rows, device=device)


def _is_wanted(components: Components, comm: Communicator, columns: RowColumns) -> bool:
    """What the configuration says; with ``auto``, what rank 0 finds."""
    sharded = components.config.server.sharded
    if sharded != "auto":
        return sharded
    needed = int(ROOM * FLOAT32_BYTES * components.config.participants_per_round * columns.total)
    lacks = torch.tensor([comm.rank == 0 and not comm.shares_memory and needed > _free(comm.row_device)])
    if comm.rank == 0 and bool(lacks):
        what = "the rows of a round need %s, which rank 0 does not have: every rank aggregates some columns of them"
        log.info(what, byte_size(needed))
    return bool(comm.all_gather(lacks).any())


def _free(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory()


def _differences(comm: Communicator) -> list[str]:
    """Every rank decides by itself from sums that all have: by other bits it could decide otherwise, or hang."""
    facts = [processor(), torch.backends.cpu.get_cpu_capability(), torch.__version__]
    own = hashlib.blake2b(" ".join(facts).encode(), digest_size=7)
    kinds = comm.all_gather(torch.tensor(int.from_bytes(own.digest(), "big")))
    gpus = {device.gpu for device in comm.devices}
    if len(gpus) == 1 and bool((kinds == kinds[0]).all()):
        return []
    return ["the ranks have different processors, GPUs or versions of torch, which may round differently"]


def _obstacles(components: Components) -> Iterator[str]:
    """What cannot work on some columns only, in words."""
    aggregator = components.defence.aggregator
    members = [
        ("aggregator", aggregator.name, aggregator.shardable),
        *(("pre-aggregator", pre.name, pre.shardable) for pre in components.defence.pre),
        *(("attack", attack.name, attack.shardable) for attack in components.attacks),
        *(("metric", name, False) for name in components.metrics.whole_rows_only),
    ]
    for kind, name, shardable in members:
        if not shardable:
            yield f"the {kind} {name} does not declare that it works on some columns of the rows (shardable = True)"
    optimizer = components.config.server.optimizer.name
    try:
        require_elementwise(components.server_optimizer, optimizer)
    except ConfigError:
        yield f"the optimiser {optimizer} does not step each value by its own gradients alone"
