"""Functions as ranks: each in a process of its own, connected by gloo, without the seconds of torchrun."""

import multiprocessing
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist

from fedsim.comm import Communicator, ProcessGroup, RankPlace
from support.ports import free_port

Result = TypeVar("Result")


def on_gloo_ranks(ranks: int, scenario: Callable[[RankPlace], Result], seconds: float = 60) -> list[Result]:
    """What a function of a module of `support` returns on every rank, by rank.

    The server that forks them has the environment of the test that started it; they are given this test's.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fedsim.comm"])
    port, inherited = free_port(), dict(os.environ)
    with ProcessPoolExecutor(ranks, mp_context=context) as pool:
        futures = [pool.submit(_one_rank, scenario, rank, ranks, port, inherited) for rank in range(ranks)]
        return [future.result(seconds) for future in futures]


def _one_rank(
    scenario: Callable[[RankPlace], Result], rank: int, ranks: int, port: int, inherited: Mapping[str, str]
) -> Result:
    numbers = {"RANK": rank, "WORLD_SIZE": ranks, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": ranks, "MASTER_PORT": port}
    os.environ.clear()
    os.environ.update(inherited)
    os.environ.update({name: str(number) for name, number in numbers.items()}, MASTER_ADDR="127.0.0.1")
    return scenario(RankPlace.from_environment())


def be_less_patient(comm: Communicator, seconds: float) -> None:
    """From now on ranks wait so long for each other. They have met, for which they need longer on a busy machine."""
    assert isinstance(comm, ProcessGroup)
    comm._timeout = timedelta(seconds=seconds)
    group = dist.new_group(backend="gloo", timeout=comm._timeout)
    assert isinstance(group, dist.ProcessGroup)
    comm._control = group
