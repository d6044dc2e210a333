"""What each method costs on a pretended GPU with 8 rows of 22 million columns: counted on the scale of 1 to 1024.

Blocks are scaled as the columns are. Few of them are counted, and costs grow linearly with their number.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import torch
from torch import Tensor

from fedsim.aggregators.base import Aggregator
from fedsim.aggregators.cwtm import CoordinateWiseTrimmedMean
from fedsim.aggregators.defence import Defence
from fedsim.attacks.base import Attack, AttackView
from fedsim.run_directory.checkpoint import on_device, pack, unpack
from fedsim.updates import matrix
from fedsim.updates.context import RoundContext
from fedsim.updates.layout import RowLayout
from fedsim.updates.matrix import UpdateMatrix
from support.pretend_cuda import GPU, PretendCuda

ROWS, BYZANTINE, SCALE = 8, 2, 1024
BLOCK = matrix.block_width(ROWS, GPU) // SCALE
"""Columns of a block of all rows, scaled."""
BLOCKS = 22_000_000 / SCALE / BLOCK
"""Of a row of 22 million columns."""
SIDE = 30
"""Of a square layer."""


@dataclass(frozen=True)
class Counts:
    """Of the round that costs most.

    Attributes:
        waits: how often the CPU waits for the GPU.
        launches: operations on the GPU.
        tries: how often an aggregator is asked.
        memory: peak of the GPU's memory beside the rows, in matrices [K, D].
        places: of the waits, for a message.
    """

    waits: int
    launches: int
    tries: int
    memory: float
    places: dict[str, int]


@contextmanager
def scaled_blocks() -> Iterator[None]:
    """Blocks on the scale of the columns."""
    with (
        patch.object(matrix, "BLOCK", matrix.BLOCK // SCALE),
        patch.object(matrix, "CUDA_BLOCK_VALUES", matrix.CUDA_BLOCK_VALUES // SCALE),
    ):
        yield


def counts_of_defence(defence: Defence, columns: int) -> Counts:
    """Of one round; with a state of three, the last one after a restart."""
    with scaled_blocks(), PretendCuda() as gpu, _tries() as tries:
        counts: list[Counts] = []
        while len(counts) < (3 if defence.state_dict() else 1):
            if len(counts) == 2:
                defence.load_state_dict(through_a_checkpoint(defence.state_dict()))
            rows, facts = rows_of(len(counts), columns), facts_of(len(counts), columns)
            start(gpu, tries)
            step = defence(UpdateMatrix(rows), facts)
            counts.append(_counts(gpu, len(tries), rows))
            assert step.is_cuda
    return max(counts, key=lambda one: one.waits + one.launches)


def counts_of_attack(attack: Attack, columns: int) -> Counts:
    """The same of an attack, on cwtm where it probes."""
    defence = Defence(CoordinateWiseTrimmedMean())
    with scaled_blocks(), PretendCuda() as gpu, _tries() as tries:
        counts: list[Counts] = []
        while len(counts) < (3 if attack.state_dict() else 1):
            if len(counts) == 2:
                attack.load_state_dict(through_a_checkpoint(attack.state_dict()))
            rows = rows_of(len(counts), columns)
            view = _view(UpdateMatrix(rows), defence, facts_of(len(counts), columns))
            start(gpu, tries)
            attack.observe(view.facts)
            crafted = attack(view)
            counts.append(_counts(gpu, len(tries), rows))
            assert crafted.is_cuda
    return max(counts, key=lambda one: one.waits + one.launches)


def through_a_checkpoint(state: object) -> dict[str, object]:
    """As a run resumes: through the CPU, back onto the GPU."""
    restored: dict[str, object] = on_device(unpack(*pack(state)), GPU)
    return restored


def rows_of(seed: int, columns: int) -> Tensor:
    """Rows with zeros, a zero row and twins, which lead to the rarer branches.

    Longer ones repeat themselves, so that what is near, and looked at again, does not depend on the length.
    """
    rows = torch.randn(ROWS, 2 * BLOCK, generator=torch.Generator().manual_seed(seed))
    rows = rows.repeat(1, -(-columns // rows.shape[1]))[:, :columns]
    rows[:, ::7], rows[1], rows[3] = 0, 0, rows[2]
    return rows.to(GPU)


def facts_of(round_index: int, columns: int) -> RoundContext:
    layout = {"flat": (columns - 2 * SIDE * SIDE,), "square": (SIDE, SIDE), "other": (SIDE, SIDE)}
    return RoundContext(
        round=round_index,
        client_ids=tuple(range(ROWS)),
        layout=RowLayout(layout),
        last_step=rows_of(100 + round_index, columns)[0],
        weights=torch.ones(columns, device=GPU),
        generator=torch.Generator().manual_seed(round_index),
        sample_counts=tuple(range(9, 9 + ROWS)),
    )


def _view(updates: UpdateMatrix, defence: Defence, facts: RoundContext) -> AttackView:
    honest = ROWS - BYZANTINE
    return AttackView(
        honest=updates.select(range(honest)),
        own=updates.select(range(honest, ROWS)),
        aggregator=defence,
        context=facts,
    )


@contextmanager
def _tries() -> Iterator[list[str]]:
    """Names of the aggregators that are asked."""
    asked: list[str] = []
    call = Aggregator.__call__

    def ask(self: Aggregator, *arguments: object) -> Tensor:
        asked.append(self.name)
        return call(self, *arguments)  # type: ignore[arg-type]

    with patch.object(Aggregator, "__call__", ask):
        yield asked


def start(gpu: PretendCuda, tries: list[str]) -> None:
    tries.clear()
    gpu.reset()


def _counts(gpu: PretendCuda, tries: int, rows: Tensor) -> Counts:
    assert not gpu.alerts, "a deterministic run would refuse it"
    memory = (gpu.peak_bytes - gpu.bytes_before) / rows.nbytes
    return Counts(gpu.waits.total(), gpu.launches.total(), tries, memory, dict(gpu.waits))
