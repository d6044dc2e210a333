"""What an aggregator is called with in tests, and how near its step must come."""

from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedsim.aggregators import RoundContext, build_aggregator
from fedsim.aggregators.pre import PreAggregator
from fedsim.updates.layout import RowLayout
from fedsim.updates.matrix import BLOCK, UpdateMatrix

WIDE = 2 * BLOCK + 77
"""Three blocks: one for each of three ranks."""
WIDER = 5 * BLOCK + 77
"""Six blocks: two for each of three ranks."""


def context_of(
    client_ids: Sequence[int],
    round_index: int = 0,
    last_step: Tensor | None = None,
    *,
    dropped: int = 0,
    layout: RowLayout | None = None,
) -> RoundContext:
    """A round's context whose randomness depends on the number of the round alone."""
    return RoundContext(
        round=round_index,
        client_ids=tuple(client_ids),
        dropped=dropped,
        last_step=last_step,
        layout=layout,
        generator=torch.Generator().manual_seed(round_index),
    )


def transform(pre: PreAggregator, rows: Tensor | UpdateMatrix, context: RoundContext | None = None) -> Tensor:
    """The rows that a pre-aggregator makes of these."""
    updates = UpdateMatrix.of(rows)
    return pre(updates, context or context_of(range(updates.num_rows)))[0].tensor()


def case_id(value: object) -> str:
    """The name of a test's case: settings as key=value."""
    return "-".join(f"{key}={setting}" for key, setting in value.items()) if isinstance(value, dict) else str(value)


def assert_near(found: Tensor, expected: Tensor, rtol: float, atol: float = 0.0) -> None:
    """Relative to the length of what is expected."""
    error = float((found.double() - expected).norm())
    assert error <= rtol * float(expected.norm()) + atol, (error, float(expected.norm()))


def steps_over(name: str, rounds: Sequence[Tensor], **settings: Any) -> list[Tensor]:
    """The steps of one aggregator in successive rounds; each knows the step before."""
    aggregator, steps, last = build_aggregator(name, **settings), list[Tensor](), None
    for number, rows in enumerate(rounds):
        last = aggregator(rows, context_of(range(len(rows)), number, last))
        steps.append(last)
    return steps


def assert_step(step: Tensor, expected: "Tensor | np.ndarray[Any, Any]", rtol: float = 1e-6) -> None:
    """Each coordinate, relative to itself and to the largest one."""
    wanted = torch.as_tensor(expected, dtype=torch.float64)
    scale = max(1e-30, float(wanted.abs().max()))
    torch.testing.assert_close(step.double(), wanted, rtol=rtol, atol=rtol * scale)


def assert_steps(found: Sequence[Tensor], expected: Sequence[Tensor], rtol: float = 1e-5) -> None:
    """Of several rounds."""
    for step, wanted in zip(found, expected, strict=True):
        assert_step(step, wanted, rtol)


def assert_same(one: Any, other: Any) -> None:
    """Equality of nested states, bit by bit; NaN equals NaN."""
    if isinstance(one, Tensor | float):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    elif is_dataclass(one):
        assert_same(vars(one), vars(other))
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_same(value, other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    else:
        assert one == other
