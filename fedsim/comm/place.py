"""Where this process stands among the ranks, as torchrun's environment says."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from dataclasses import dataclass

import torch

from fedsim.comm.launchers import refuse_copies
from fedsim.errors import ConfigError
from fedsim.machine import mig_slices


@dataclass(frozen=True)
class RankPlace:
    """Rank and number of ranks, over all hosts and on this one.

    >>> RankPlace.from_environment({}) == RankPlace(rank=0, size=1, local_rank=0, local_size=1)
    True
    """

    rank: int
    size: int
    local_rank: int
    local_size: int

    @classmethod
    def from_environment(cls, environment: dict[str, str] | None = None) -> RankPlace:
        """The place that torchrun gave; without torchrun the only rank.

        Raises:
            ConfigError: torchrun's variables are not all there, or another launcher has started several runs.
        """
        env = dict(os.environ) if environment is None else environment
        refuse_copies(env)
        if "WORLD_SIZE" not in env:
            return cls(0, 1, 0, 1)
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        try:
            return cls(*(int(env[name]) for name in names))
        except (KeyError, ValueError) as error:
            problem = f"WORLD_SIZE is set, but {', '.join(names)} are not all numbers ({error})"
            raise ConfigError("environment", problem, "start through torchrun, or unset WORLD_SIZE") from None

    def device(self, wanted: str) -> torch.device:
        """The device of this rank for ``runtime.device``: ``auto``, ``cpu`` or ``cuda``.

        It is the CPU where no GPU is visible, even if ``cuda`` is wanted: when the ranks are connected, all of them
        know who has none. With more ranks than GPUs on a host, ranks share GPUs in turn.
        """
        if wanted == "cpu":
            return torch.device("cpu")
        self.take_own_slice(os.environ)
        if not torch.cuda.is_available():
            return torch.device("cpu")
        return torch.device("cuda", self.local_rank % torch.cuda.device_count())

    def take_own_slice(self, environment: MutableMapping[str, str]) -> None:
        """Of several slices of GPUs (MIG), CUDA would show the first to every rank; it asks once, when it starts."""
        slices = mig_slices(environment)
        if len(slices) > 1:
            environment["CUDA_VISIBLE_DEVICES"] = slices[self.local_rank % len(slices)]
