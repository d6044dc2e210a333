"""Ranks that are threads of one process."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from fedsim.comm import SingleProcess
from fedsim.comm.place import RankPlace
from fedsim.evaluation.evaluator import Evaluation


class Ring:
    """What ranks that are threads of this process gather into."""

    def __init__(self, size: int) -> None:
        self.parts: list[Tensor | None] = [None] * size
        self.barrier = threading.Barrier(size)


class ThreadRank(SingleProcess):
    """One of several ranks that are threads."""

    def __init__(self, rank: int, ring: Ring) -> None:
        super().__init__()
        self.place = RankPlace(rank, len(ring.parts), rank, len(ring.parts))
        self.ring = ring

    def all_gather(self, tensor: Tensor) -> Tensor:
        self.ring.parts[self.rank] = tensor.clone()
        self.ring.barrier.wait(timeout=60)
        gathered = torch.stack(self.ring.parts)
        self.ring.barrier.wait(timeout=60)
        return gathered

    def gather(self, values: Tensor) -> list[Tensor]:
        self.ring.parts[self.rank] = values.clone()
        self.ring.barrier.wait(timeout=60)
        gathered = list(self.ring.parts)
        self.ring.barrier.wait(timeout=60)
        return gathered


def on_ranks(size: int, work: Callable[[SingleProcess], Evaluation]) -> list[Evaluation]:
    """The evaluation of every rank."""
    ring = Ring(size)
    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(work, ThreadRank(rank, ring)) for rank in range(size)]
        return [future.result(timeout=120) for future in futures]
