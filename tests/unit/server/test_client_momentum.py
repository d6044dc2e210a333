"""The momentum of clients."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsim.run_directory.checkpoint import Checkpoints
from fedsim.server.client_momentum import ClientMomentum
from support.randomness import draws
from support.states import through_json

ROUNDS = [(0, 1, 2), (1, 3), (0, 3, 2), (2,), (3, 0, 1), (0, 1, 2, 3)]


def sent(momentum: ClientMomentum, start: int = 0, stop: int = len(ROUNDS)) -> list[Tensor]:
    """The rows that leave in these rounds."""
    out = []
    for round_index in range(start, stop):
        rows = draws(100 + round_index, len(ROUNDS[round_index]), 6)
        momentum.apply(list(rows), ROUNDS[round_index])
        out.append(rows)
    return out


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_momentum_of_each_client_goes_on_when_it_takes_part_again(beta: float) -> None:
    memory = {client: np.zeros(6) for client in range(4)}
    for round_index, rows in enumerate(sent(ClientMomentum(beta))):
        given = draws(100 + round_index, len(ROUNDS[round_index]), 6).double().numpy()
        for row, gradient, client in zip(rows, given, ROUNDS[round_index], strict=True):
            memory[client] = (1 - beta) * gradient + beta * memory[client]
            assert np.allclose(row.double().numpy(), memory[client], atol=1e-6)


def test_momentum_of_zero_leaves_rows_and_memory_untouched() -> None:
    rows = draws(14, 3, 5)
    rows[1, 2] = torch.nan
    before, momentum = rows.clone(), ClientMomentum(0.0, torch.bfloat16)
    momentum.apply(list(rows), [0, 1, 2])
    assert torch.equal(rows.view(torch.int32), before.view(torch.int32))
    assert not momentum.state_dict()["momenta"]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("first", [True, False], ids=["before any other", "after others"])
def test_a_row_that_contains_nan_or_infinity_goes_out_as_it_is_and_leaves_the_memory(bad: float, first: bool) -> None:
    given, subject, other = draws(15, 3, 5), ClientMomentum(0.75), ClientMomentum(0.75)
    if not first:
        for each in (subject, other):
            each.apply([given[0].clone(), given[1].clone()], [4, 9])
    broken, neighbour = given[2].clone(), given[0].clone()
    broken[3] = bad
    before = broken.clone()
    subject.apply([broken, neighbour], [4, 9])
    assert torch.equal(broken.view(torch.int32), before.view(torch.int32))
    expected = given[0].clone()
    other.apply([expected], [9])
    assert torch.equal(neighbour, expected)  # the others are not held up
    good, wanted = given[1].clone(), given[1].clone()
    subject.apply([good], [4])
    other.apply([wanted], [4])
    assert torch.equal(good, wanted)


def test_a_row_and_the_memory_of_its_client_are_separate_tensors() -> None:
    momentum, row = ClientMomentum(0.5), torch.ones(3)
    momentum.apply([row], [0])
    row.fill_(1e6)  # as an attack does that overwrites the row
    again = torch.zeros(3)
    momentum.apply([again], [0])
    assert again.tolist() == [0.25] * 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("travel", [copy.deepcopy, through_json], ids=["copied", "packed"])
def test_a_restored_momentum_goes_on_bit_for_bit(travel: Any, dtype: torch.dtype) -> None:
    whole = sent(ClientMomentum(0.9, dtype))
    first, second = ClientMomentum(0.9, dtype), ClientMomentum(0.9, dtype)
    sent(first, stop=3)
    second.load_state_dict(travel(first.state_dict()))
    assert all(torch.equal(a, b) for a, b in zip(sent(second, start=3), whole[3:], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(sent(ClientMomentum(0.9, dtype), 3), whole[3:], strict=True))


def test_a_momentum_goes_on_from_a_file(tmp_path: Any) -> None:
    whole = sent(ClientMomentum(0.9))
    first, second = ClientMomentum(0.9), ClientMomentum(0.9)
    sent(first, stop=3)
    Checkpoints(tmp_path, keep=1).save(3, {"momentum": first.state_dict()})
    loaded = Checkpoints(tmp_path, keep=1).load_newest()
    assert loaded is not None
    second.load_state_dict(loaded[1]["momentum"])
    assert all(torch.equal(a, b) for a, b in zip(sent(second, start=3), whole[3:], strict=True))


def test_the_wire_rounds_the_momentum_that_is_sent_but_not_the_one_that_is_kept() -> None:
    exact, rounded = sent(ClientMomentum(0.9)), sent(ClientMomentum(0.9, torch.bfloat16))
    assert all(torch.equal(row, a.bfloat16().float()) for a, row in zip(exact, rounded, strict=True))
    assert not any(torch.equal(row, a) for a, row in zip(exact, rounded, strict=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_momentum_that_comes_from_a_checkpoint_meets_rows_on_a_gpu() -> None:
    first, second = ClientMomentum(0.5), ClientMomentum(0.5)
    first.apply([torch.ones(3, device="cuda")], [0])
    second.load_state_dict(through_json(first.state_dict()))  # on the CPU now
    row = torch.zeros(3, device="cuda")
    second.apply([row], [0])
    assert row.tolist() == [0.25] * 3
