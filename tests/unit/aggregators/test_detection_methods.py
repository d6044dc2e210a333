"""What holds for COPOD-DOS, FLDetector, RFFL and RobustTailor alike."""

import io
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import build_aggregator
from fedsim.updates.matrix import UpdateMatrix
from support.aggregation import context_of
from support.references import random_rows

NAMES = ["copod_dos", "fldetector", "rffl", "robust_tailor"]

STATEFUL: list[tuple[str, dict[str, Any]]] = [
    ("fldetector", {"window": 2}),
    ("rffl", {"warmup_rounds": 1, "fade": 0.3}),
    ("robust_tailor", {"pool": ["cwmed", "centered_clipping"]}),
]


def run_rounds(
    aggregator: Any,
    rounds: Sequence[Tensor | UpdateMatrix],
    ids: Sequence[Sequence[int]],
    last: Tensor | None = None,
    first: int = 0,
) -> list[Tensor]:
    """The steps of several rounds, each given the one before."""
    steps = []
    for number, (rows, clients) in enumerate(zip(rounds, ids, strict=True), start=first):
        last = aggregator(rows, context_of(clients, number, last)).clone()
        steps.append(last)
    return steps


@pytest.mark.parametrize(("name", "settings"), STATEFUL)
def test_the_order_of_the_clients_does_not_matter_over_rounds(name: str, settings: dict[str, Any]) -> None:
    rounds = [random_rows(8, 60, seed=seed) + (torch.arange(8) == 3)[:, None] * 5 for seed in range(6)]
    ids = [11, 4, 9, 30, 2, 5, 1, 8]
    orders = [torch.randperm(8, generator=torch.Generator().manual_seed(seed)).tolist() for seed in range(6)]
    straight = run_rounds(build_aggregator(name, **settings), rounds, [ids] * 6)
    shuffled = run_rounds(
        build_aggregator(name, **settings),
        [rows[order] for rows, order in zip(rounds, orders, strict=True)],
        [[ids[row] for row in order] for order in orders],
    )
    for one, other in zip(straight, shuffled, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "settings"), STATEFUL)
def test_a_state_through_a_file_continues_the_same(name: str, settings: dict[str, Any]) -> None:
    rounds = [random_rows(6, 40, seed=seed) for seed in range(7)]
    ids = [list(range(6)), [5, 1, 0, 2, 3, 4]] * 3 + [list(range(6))]
    aggregator, resumed = (build_aggregator(name, **settings) for _ in range(2))
    last = run_rounds(aggregator, rounds[:4], ids[:4])[-1]
    file = io.BytesIO()
    torch.save(aggregator.state_dict(), file)
    state = aggregator.state_dict()
    expected = run_rounds(aggregator, rounds[4:], ids[4:], last, first=4)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    found = run_rounds(resumed, rounds[4:], ids[4:], last, first=4)
    aggregator.load_state_dict(state)  # and the state taken before did not go on with the aggregator
    again = run_rounds(aggregator, rounds[4:], ids[4:], last, first=4)
    for number in range(3):
        assert torch.equal(found[number], expected[number])
        assert torch.equal(again[number], expected[number])
