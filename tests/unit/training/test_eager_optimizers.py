"""Optimisers without the compiler compute what torch's compute."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fedsim.training.eager_optimizers import eager
from fedsim.training.optimizers import available_optimizers

Optimizer = torch.optim.Optimizer
Kind = Callable[..., Optimizer]


def parameters() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in ((3, 4), (5,))]


def step(optimizer: Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimizer.zero_grad()
    for weights in optimizer.param_groups[0]["params"]:
        weights.grad = torch.randn(weights.shape, generator=generator)
    optimizer.step()


def stepped(kind: Kind, **settings: Any) -> tuple[list[torch.Tensor], Optimizer]:
    """After three steps, of which the last is taken by a copy made through the state of the first two."""
    first = kind(parameters(), **settings)
    step(first, 1)
    step(first, 2)
    weights = [tensor.detach().clone().requires_grad_() for tensor in first.param_groups[0]["params"]]
    second = kind(weights, **settings)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    step(second, 3)
    return weights, second


@pytest.mark.parametrize("name", available_optimizers())
def test_the_steps_have_the_same_bits(name: str) -> None:
    kind = available_optimizers()[name]
    ours, optimizer = stepped(eager(kind), lr=0.1)  # first: torch changes its class when it makes one
    torchs, _ = stepped(kind, lr=0.1)
    again, _ = stepped(eager(kind), lr=0.1)
    assert isinstance(optimizer, kind)
    assert type(optimizer).__name__ == kind.__name__
    for one, other, third in zip(ours, torchs, again, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, third)


@pytest.mark.parametrize("settings", [{"momentum": 0.9, "nesterov": True}, {"weight_decay": 0.1, "foreach": True}])
def test_settings_have_their_effect(settings: dict[str, Any]) -> None:
    ours, _ = stepped(eager(torch.optim.SGD), lr=0.1, **settings)
    torchs, _ = stepped(torch.optim.SGD, lr=0.1, **settings)
    assert all(map(torch.equal, ours, torchs))


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.Adadelta])
def test_a_step_records_no_gradients_unless_it_is_differentiable(kind: type[Optimizer]) -> None:
    weights, _ = stepped(eager(kind), lr=0.1)
    assert not any(tensor.grad_fn for tensor in weights)
    leaf = torch.ones(2, requires_grad=True)
    weight = leaf.clone()
    make: Kind = eager(kind)
    optimizer = make([weight], lr=0.1, differentiable=True)
    weight.grad = torch.ones(2)
    optimizer.step()
    assert weight.grad_fn is not None
    assert torch.is_grad_enabled()


def test_hooks_are_called_once() -> None:
    make: Kind = eager(torch.optim.SGD)
    optimizer = make(parameters(), lr=0.1)
    calls = []
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    step(optimizer, 1)
    assert calls == ["before", "after"]


def test_a_closure_records_gradients_and_gives_the_loss() -> None:
    weight = torch.ones(1, requires_grad=True)
    make: Kind = eager(torch.optim.SGD)
    optimizer = make([weight], lr=0.5)

    def loss() -> float:
        optimizer.zero_grad()
        value = weight.square().sum()
        value.backward()
        return value.item()

    assert optimizer.step(loss) == 1.0
    assert weight.item() == 0.0


def test_torch_keeps_its_own_classes() -> None:
    before = dict(vars(torch.optim.Optimizer)), vars(torch.optim.Rprop)["__init__"]
    make: Kind = eager(torch.optim.Rprop)
    step(make(parameters(), lr=0.1), 1)
    assert (dict(vars(torch.optim.Optimizer)), vars(torch.optim.Rprop)["__init__"]) == before
