"""Functions as ranks: each in a process of its own, connected by gloo, without the seconds of torchrun."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from fedsim.comm import RankPlace

Result = TypeVar("Result")


def on_gloo_ranks(ranks: int, scenario: Callable[[RankPlace], Result], seconds: float = 60) -> list[Result]:
    """What a function of a module of `support` returns on every rank, by rank."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fedsim.comm"])
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with ProcessPoolExecutor(ranks, mp_context=context) as pool:
        futures = [pool.submit(_one_rank, scenario, rank, ranks, port) for rank in range(ranks)]
        return [future.result(seconds) for future in futures]


def _one_rank(scenario: Callable[[RankPlace], Result], rank: int, ranks: int, port: int) -> Result:
    numbers = {"RANK": rank, "WORLD_SIZE": ranks, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": ranks, "MASTER_PORT": port}
    os.environ.update({name: str(number) for name, number in numbers.items()}, MASTER_ADDR="127.0.0.1")
    return scenario(RankPlace.from_environment())
