"""What the ranks compute on: which of them have a GPU, and which of them share one."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

import torch

from fedsim.errors import ConfigError, counted
from fedsim.machine import boot_id, byte_size, why_no_gpu

MOST_NAMED = 3
"""Ranks that a message names."""


@dataclass(frozen=True)
class RankDevice:
    """What one rank computes on, as the others know it.

    Attributes:
        gpu: name and memory of its GPU; empty if it computes on the CPU.
        address: of the GPU, over all hosts. Slices of one GPU (MIG) have the same: NCCL takes them for one, too.
        why_no_gpu: why torch sees no GPU there.

    >>> RankDevice.of(torch.device("cpu")).gpu
    ''
    """

    host: str
    gpu: str = ""
    address: str = ""
    why_no_gpu: str = ""

    @classmethod
    def of(cls, device: torch.device) -> RankDevice:
        """The device of this rank."""
        host = socket.gethostname()
        if device.type != "cuda":
            return cls(host, why_no_gpu=why_no_gpu())
        properties = torch.cuda.get_device_properties(device)
        # Not by number: with one visible GPU per rank each is cuda:0. Not by UUID: slices of one GPU have their own.
        numbers = (getattr(properties, f"pci_{part}_id") for part in ("domain", "bus", "device"))
        pci = ":".join(f"{number:x}" for number in numbers)
        gpu = f"{properties.name}, {byte_size(properties.total_memory)}"
        return cls(host, gpu, f"{boot_id() or host}/{pci}")

    @classmethod
    def from_text(cls, text: str) -> RankDevice:
        """The device that :meth:`to_text` gave on another rank."""
        return cls(*json.loads(text))

    def to_text(self) -> str:
        return json.dumps(astuple(self))


def require_one_kind(devices: Sequence[RankDevice]) -> None:
    """Refuse ranks of which some have a GPU and others have none: they would compute different bits.

    Args:
        devices: of all ranks, by rank.

    Raises:
        ConfigError: names the ranks without a GPU, their hosts and the reason; the same on every rank.
    """
    without = {rank: device for rank, device in enumerate(devices) if not device.gpu}
    if not without or len(without) == len(devices):
        return
    rank, other = next((rank, device) for rank, device in enumerate(devices) if device.gpu)
    see = "sees" if len(without) == 1 else "see"
    reason = next(iter(without.values())).why_no_gpu
    problem = f"{_named(without)} {see} no GPU ({reason}), but rank {rank} (host {other.host}) has one ({other.gpu})"
    raise ConfigError("runtime.device", problem, "let every rank see a GPU, or set runtime.device=cpu")


def _named(ranks: Mapping[int, RankDevice]) -> str:
    shown = [f"rank {rank} (host {device.host})" for rank, device in ranks.items()][:MOST_NAMED]
    more = len(ranks) - len(shown)
    return ", ".join(shown) + f" and {more} more" * (more > 0)


def each_has_its_own(devices: Sequence[RankDevice]) -> bool:
    """Whether every rank has a GPU that no other rank has; NCCL asks for that."""
    return all(device.gpu for device in devices) and len({device.address for device in devices}) == len(devices)


def in_words(devices: Sequence[RankDevice]) -> str:
    """What the ranks compute on.

    >>> in_words([RankDevice("a"), RankDevice("a")])
    'CPU'
    >>> in_words([RankDevice("a", "NVIDIA L4, 23.6 GB", "a/0:3:0"), RankDevice("a", "NVIDIA L4, 23.6 GB", "a/0:3:0")])
    '1 GPU (NVIDIA L4, 23.6 GB) shared by 2 ranks'
    """
    names = list(dict.fromkeys(device.gpu for device in devices))
    if not any(names):
        return "CPU"
    gpus = len({device.address for device in devices})
    shared = f" shared by {counted(len(devices), 'rank')}" if gpus < len(devices) else ""
    return f"{counted(gpus, 'GPU')} ({' and '.join(names)}){shared}"
