"""Adaptive optimisers by Algorithm 2 of Reddi et al. 2021."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fedsim.errors import ConfigError
from fedsim.training.fedopt import FedAdagrad, FedAdam, FedYogi
from fedsim.training.optimizers import available_optimizers, optimizer_maker
from support.fedopt_reference import KINDS, by_the_paper
from support.randomness import draws
from support.states import through_json


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
    assert isinstance(optimizer, kind)
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
