"""Optimisers that do not import torch's compiler.

``torch.optim`` wraps some methods so that the compiler leaves them alone, and the first call of such a wrapper
imports all of ``torch._dynamo``, which takes as long as torch itself, in every process, though few runs compile.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch

HIDES_FROM_COMPILER = "torch._compile"
"""The module of the wrapper that hides a method from the compiler and calls it."""

CHOOSES_GRADIENTS = "_use_grad"
"""The wrapper that records gradients of ``step`` if the optimiser is differentiable, and none otherwise."""

Method = Callable[..., Any]


def eager(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """A subclass that computes the same, with the methods that torch's wrappers call.

    Nothing of torch is changed, and a wrapper that is not known stays.

    >>> weight = torch.zeros(1, requires_grad=True)
    >>> optimizer = eager(torch.optim.SGD)([weight], lr=0.5)
    >>> weight.grad = torch.ones(1)
    >>> optimizer.step()
    >>> weight
    tensor([-0.5000], requires_grad=True)
    """
    methods: dict[str, Method] = {}
    for name, method in inspect.getmembers(kind, inspect.isfunction):
        for layer in _layers(method):
            if layer.__globals__["__name__"] == HIDES_FROM_COMPILER:
                methods[name] = inspect.unwrap(layer)
            elif layer.__code__.co_name == CHOOSES_GRADIENTS:
                methods[name] = _choosing_gradients(inspect.unwrap(layer))
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, **methods})


def _layers(method: Any) -> Iterator[Any]:
    """A method's wrappers, from outside, and what they wrap. ``step`` has one that calls hooks once it was used."""
    while inspect.isfunction(method):
        yield method
        method = getattr(method, "__wrapped__", None)


def _choosing_gradients(step: Method) -> Method:
    @functools.wraps(step)
    def with_or_without(self: torch.optim.Optimizer, *arguments: Any, **named: Any) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return step(self, *arguments, **named)

    return with_or_without
