"""Adaptive server optimisers, the server's schedule and the momentum of clients, against literal transcriptions."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsim.aggregators import build_aggregator
from fedsim.aggregators.defence import Defence
from fedsim.errors import ConfigError
from fedsim.run_directory.checkpoint import Checkpoints, pack, unpack
from fedsim.server.client_momentum import ClientMomentum
from fedsim.server.server import Server
from fedsim.training.fedopt import FedAdagrad, FedAdam, FedYogi
from fedsim.training.optimizers import available_optimizers, optimizer_maker
from fedsim.training.schedules import schedules
from fedsim.updates.context import RoundContext

KINDS = {"fedadagrad": FedAdagrad, "fedadam": FedAdam, "fedyogi": FedYogi}


def draws(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_the_paper(
    kind: str, start: np.ndarray, deltas: np.ndarray, lr: float, first: float, second: float, tau: float
) -> np.ndarray:
    """Algorithm 2 of Reddi et al. 2021 in float64, with descending Δ; the weights after every step."""
    w, m, v = start.astype(np.float64), np.zeros(start.shape), np.full(start.shape, tau**2)
    path = []
    for delta in deltas.astype(np.float64):
        m = first * m + (1 - first) * delta
        if kind == "fedadagrad":
            v = v + delta**2
        elif kind == "fedadam":
            v = second * v + (1 - second) * delta**2
        else:
            v = v - (1 - second) * delta**2 * np.sign(v - delta**2)
        w = w - lr * m / (np.sqrt(v) + tau)
        path.append(w)
    return np.stack(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("lr", "betas", "tau"),
    [(0.01, (0.9, 0.99), 1e-3), (0.3, (0.0, 0.5), 0.1), (1.0, (0.5, 0.0), 1.0), (0.1, (0.0, 0.0), 1e-2)],
)
def test_adaptive_steps_are_those_of_the_paper(kind: str, lr: float, betas: tuple[float, float], tau: float) -> None:
    deltas = draws(1, 60, 7) * torch.logspace(-3, 1, 7)  # from far below tau to far above
    deltas[20:30] = 0
    deltas[40:] /= 10  # v has to come down again, which Yogi does slowly
    w = draws(2, 7)
    wanted = by_the_paper(kind, w.numpy(), deltas.numpy(), lr, *betas, tau)
    optimizer = optimizer_maker(kind, {"lr": lr, "betas": list(betas), "tau": tau}, "x")([w])
    path = []
    for delta in deltas:
        w.grad = delta.clone()
        optimizer.step()
        path.append(w.double().clone())
    assert np.allclose(torch.stack(path).numpy(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_adaptive_optimizers_agree_with_the_paper_to_rounding_in_float64(kind: str) -> None:
    deltas, w = draws(3, 200, 5).double(), draws(4, 5).double()
    wanted = by_the_paper(kind, w.numpy().copy(), deltas.numpy(), 0.02, 0.9, 0.99, 1e-3)
    optimizer = KINDS[kind]([w], lr=0.02)
    for delta in deltas:
        w.grad = delta.clone()
        optimizer.step()
    assert np.allclose(w.numpy(), wanted[-1], rtol=0, atol=1e-11)


def test_the_three_adaptive_optimizers_go_three_ways() -> None:
    deltas = draws(5, 10, 4)
    ends = [by_the_paper(kind, np.zeros(4), deltas.numpy(), 0.1, 0.9, 0.99, 1e-3)[-1] for kind in KINDS]
    assert not np.allclose(ends[0], ends[1])
    assert not np.allclose(ends[1], ends[2])


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_adaptive_step_is_not_corrected_for_its_start(kind: str) -> None:
    w = torch.zeros(1)
    optimizer = KINDS[kind]([w], lr=1.0, betas=(0.9, 0.99), tau=0.5)
    w.grad = torch.tensor([2.0])
    optimizer.step()
    v = {"fedadagrad": 0.25 + 4, "fedadam": 0.99 * 0.25 + 0.01 * 4, "fedyogi": 0.25 + 0.01 * 4}[kind]
    assert w.item() == pytest.approx(-0.1 * 2 / (v**0.5 + 0.5), rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_adaptive_optimizers_pass_over_parameters_without_gradient_and_leave_gradients_alone(kind: str) -> None:
    first, second = torch.ones(2), torch.ones(2)
    optimizer = KINDS[kind]([first, second], lr=0.1)
    first.grad = torch.tensor([1.0, -2.0])
    optimizer.step()
    assert second.tolist() == [1.0, 1.0]
    assert first.grad.tolist() == [1.0, -2.0]
    assert first[0] < 1 < first[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "settings",
    [
        {"lr": -0.1},
        {"lr": float("nan")},
        {"betas": (1.0, 0.9)},
        {"betas": (-0.1, 0.9)},
        {"betas": (0.9, 1.0)},
        {"betas": (0.9, -0.1)},
        {"betas": (0.9, float("nan"))},
        {"tau": 0.0},
        {"tau": -1e-3},
        {"tau": float("nan")},
    ],
)
def test_bad_settings_of_adaptive_optimizers_are_value_errors(kind: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="lr may not be negative"):
        KINDS[kind]([torch.zeros(1)], **settings)
    with pytest.raises(ConfigError, match=r"^server\.optimizer"):
        optimizer_maker(kind, settings, "server.optimizer")


def through_json(state: Mapping[str, Any]) -> Any:
    return unpack(*pack(state))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("travel", [copy.deepcopy, through_json], ids=["copied", "packed"])
def test_a_restored_adaptive_optimizer_goes_on_bit_for_bit(kind: str, travel: Any) -> None:
    deltas = draws(6, 20, 5)

    def go_on(optimizer: torch.optim.Optimizer, w: Tensor, some: Tensor) -> Tensor:
        for delta in some:
            w.grad = delta.clone()
            optimizer.step()
        return w.clone()

    w = draws(7, 5)
    optimizer = KINDS[kind]([w], lr=0.1, betas=(0.8, 0.95), tau=0.01)
    half = go_on(optimizer, w, deltas[:10])
    state = travel(optimizer.state_dict())
    whole = go_on(optimizer, w, deltas[10:])
    again = half.clone()
    restored = KINDS[kind]([again], lr=7.0)  # its settings come from the state too
    restored.load_state_dict(state)
    assert torch.equal(go_on(restored, again, deltas[10:]), whole)
    fresh = half.clone()
    assert not torch.equal(
        go_on(KINDS[kind]([fresh], lr=0.1, betas=(0.8, 0.95), tau=0.01), fresh, deltas[10:]), whole
    )


@pytest.mark.parametrize(("name", "kind"), [("FedAdam", FedAdam), ("FEDYOGI", FedYogi), ("fedadagrad", FedAdagrad)])
def test_adaptive_optimizers_are_found_by_name_in_any_case(name: str, kind: type[torch.optim.Optimizer]) -> None:
    optimizer = optimizer_maker(name, {"lr": 0.5, "tau": 0.25}, "x")([torch.zeros(1)])
    assert type(optimizer) is kind
    assert (optimizer.defaults["lr"], optimizer.defaults["tau"]) == (0.5, 0.25)
    assert name.lower() in available_optimizers()


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_arguments_of_adaptive_optimizers_are_named_with_the_nearest(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"^server\.optimizer\.tua: unknown key.*did you mean 'tau'"):
        optimizer_maker(kind, {"tua": 0.1}, "server.optimizer")
    with pytest.raises(ConfigError, match=r"^server\.optimizer\.momentum: unknown key"):
        optimizer_maker(kind, {"momentum": 0.9}, "server.optimizer")
    with pytest.raises(ConfigError, match=r"^server\.optimizer\.tau: nan is not a finite number"):
        optimizer_maker(kind, {"tau": float("nan")}, "server.optimizer")
    with pytest.raises(ConfigError, match=rf"^server\.optimizer\.name: unknown optimiser.*did you mean '{kind}'"):
        optimizer_maker(kind + "x", {}, "server.optimizer")


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
        state = state - subject.decide(delta.repeat(3, 1), state, context).step
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
    steps = [-rounds_of(subject, torch.zeros(4), deltas, start=round)[0, 0].item() for round in (0, 20, 9, 10)]
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


# The momentum of clients

ROUNDS = [(0, 1, 2), (1, 3), (0, 3, 2), (2,), (3, 0, 1), (0, 1, 2, 3)]


def sent(momentum: ClientMomentum, start: int = 0, stop: int = len(ROUNDS)) -> list[Tensor]:
    """The rows that leave in these rounds."""
    out = []
    for round in range(start, stop):
        rows = draws(100 + round, len(ROUNDS[round]), 6)
        momentum.apply(list(rows), ROUNDS[round])
        out.append(rows)
    return out


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
def test_momentum_of_each_client_goes_on_when_it_takes_part_again(beta: float) -> None:
    memory = {client: np.zeros(6) for client in range(4)}
    for round, rows in enumerate(sent(ClientMomentum(beta))):
        given = draws(100 + round, len(ROUNDS[round]), 6).double().numpy()
        for row, gradient, client in zip(rows, given, ROUNDS[round], strict=True):
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
def test_a_row_that_is_not_finite_goes_out_as_it_is_and_leaves_the_memory(bad: float, first: bool) -> None:
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
