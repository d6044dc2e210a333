"""The server's steps under adaptive optimisers and schedules."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsim.aggregators import build_aggregator
from fedsim.aggregators.defence import Defence
from fedsim.server.server import Server
from fedsim.training.optimizers import optimizer_maker
from fedsim.training.schedules import schedules
from fedsim.updates.context import RoundContext
from support.fedopt_reference import KINDS, by_the_paper
from support.randomness import draws
from support.states import through_json


def server(optimizer: str, settings: Mapping[str, Any], schedule: Any = None, buffers: int = 0) -> Server:
    return Server(
        Defence(build_aggregator("fedavg")),
        build_aggregator("fedavg"),
        optimizer_maker(optimizer, settings, "server.optimizer"),
        "drop",
        4,
        torch.zeros(buffers, dtype=torch.bool),
        schedule,
    )


def rounds_of(subject: Server, state: Tensor, deltas: Tensor, start: int = 0) -> Tensor:
    """The states after each of the rounds in which all clients send the same row."""
    path = []
    for offset, delta in enumerate(deltas):
        context = RoundContext(client_ids=(0, 1, 2), round=start + offset)
        state = state - subject.decide(subject.columns.rows(delta.repeat(3, 1)), state, context).step
        path.append(state)
    return torch.stack(path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_server_steps_by_the_paper(kind: str) -> None:
    state, deltas = draws(8, 4), draws(9, 25, 4)
    path = rounds_of(server(kind, {"lr": 0.05, "betas": [0.9, 0.95], "tau": 0.01}), state, deltas)
    wanted = by_the_paper(kind, state.numpy(), deltas.numpy(), 0.05, 0.9, 0.95, 0.01)
    assert np.allclose(path.numpy(), wanted, atol=1e-5)


SCHEDULES = [
    ("steps", {"after": [2, 5], "by": 0.5}, [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]),
    ("cosine", {"over": 4, "final": 0.0}, [1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5, 0, 0, 0, 0]),
    ("cosine", {"over": 2, "warmup_rounds": 3, "final": 0.5}, [0.25, 0.5, 0.75, 1, 0.5, 0.5, 0.5, 0.5]),
    ("constant", {}, [1] * 8),
]


@pytest.mark.parametrize(("name", "settings", "factors"), SCHEDULES)
def test_the_schedule_scales_the_rate_of_the_server_but_never_the_buffers(
    name: str, settings: dict[str, Any], factors: list[float]
) -> None:
    deltas = draws(10, 8, 6)
    subject = server("sgd", {"lr": 0.5}, schedules.build(name, **settings), buffers=2)
    path = rounds_of(subject, torch.zeros(6), deltas)
    rates = 0.5 * torch.tensor(factors, dtype=torch.float64)[:, None]
    assert torch.allclose(path[:, :4].double(), -(rates * deltas[:, :4].double()).cumsum(0), atol=1e-6)
    assert torch.allclose(path[:, 4:].double(), -deltas[:, 4:].double().cumsum(0), atol=1e-6)


def test_the_schedule_of_the_server_goes_with_the_round_and_not_with_the_number_of_calls() -> None:
    deltas = torch.ones(1, 4)
    subject = server("sgd", {"lr": 1.0}, schedules.build("steps", after=[10], by=0.25))
    steps = [
        -rounds_of(subject, torch.zeros(4), deltas, start=round_index)[0, 0].item() for round_index in (0, 20, 9, 10)
    ]
    assert steps == [1.0, 0.25, 1.0, 0.25]


@pytest.mark.parametrize("kind", ["fedadam", "fedyogi", "adam"])
def test_a_restored_server_goes_on_bit_for_bit_and_does_not_scale_a_scaled_rate_again(kind: str) -> None:
    schedule, deltas, state = schedules.build("steps", after=[3], by=0.1), draws(11, 12, 4), draws(12, 4)

    def new() -> Server:
        return server(kind, {"lr": 0.2}, schedule)

    whole = rounds_of(new(), state, deltas)
    first, second = new(), new()
    half = rounds_of(first, state, deltas[:6])
    second.load_state_dict(through_json(first.state_dict()))
    assert torch.equal(rounds_of(second, half[-1], deltas[6:], start=6), whole[6:])


def test_a_round_without_a_usable_row_leaves_the_adaptive_state() -> None:
    deltas = draws(13, 2, 4)
    subject, other = server("fedadam", {"lr": 0.1}), server("fedadam", {"lr": 0.1})
    rounds_of(subject, torch.zeros(4), deltas[:1])
    rounds_of(subject, torch.zeros(4), deltas[:1] * torch.nan)
    rounds_of(other, torch.zeros(4), deltas[:1])
    assert torch.equal(rounds_of(subject, torch.zeros(4), deltas[1:]), rounds_of(other, torch.zeros(4), deltas[1:]))
