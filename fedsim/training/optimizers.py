"""Any optimiser of torch.optim, and those of FedOpt, by name; their settings are checked before a run."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from fedsim.errors import ConfigError, did_you_mean, keys_under, unknown_key
from fedsim.training.eager_optimizers import eager
from fedsim.training.fedopt import FedAdagrad, FedAdam, FedYogi
from fedsim.training.optimizer_arguments import check_argument

MakeOptimizer = Callable[[Iterable[Tensor]], torch.optim.Optimizer]

NOT_USABLE = {"optimizer", "lbfgs", "sparseadam", "muon"}
"""The base class, one that needs a closure, one that needs sparse gradients, one that takes only matrices."""


def available_optimizers() -> dict[str, type[torch.optim.Optimizer]]:
    """Optimiser classes by their name in lower case."""
    classes = (value for value in vars(torch.optim).values() if inspect.isclass(value))
    optimizers = {kind.__name__.lower(): kind for kind in classes if issubclass(kind, torch.optim.Optimizer)}
    optimizers |= {kind.__name__.lower(): kind for kind in (FedAdagrad, FedAdam, FedYogi)}
    return {name: kind for name, kind in optimizers.items() if name not in NOT_USABLE}


def optimizer_maker(name: str, settings: Mapping[str, Any], key: str) -> MakeOptimizer:
    """A function from parameters to a new optimiser.

    Args:
        name: class name in any case, for example ``adamw``.
        settings: keyword arguments of the class.
        key: dotted key of the section, for error messages.

    Raises:
        ConfigError: unknown name or argument, or a value that the optimiser refuses.

    >>> optimizer_maker("sgd", {"lr": 0.1}, "clients.optimizer")([torch.zeros(1)]).defaults["lr"]
    0.1
    >>> optimizer_maker("sgd", {"lrr": 0.1}, "clients.optimizer")
    Traceback (most recent call last):
    fedsim.errors.ConfigError: clients.optimizer.lrr: unknown key (value 0.1); did you mean 'lr'? valid: ...
    """
    known = available_optimizers()
    if name.lower() not in known:
        raise ConfigError(f"{key}.name", f"unknown optimiser '{name}'", did_you_mean(name.lower(), known))
    kind = eager(known[name.lower()])
    signature = inspect.signature(kind).parameters
    arguments = {argument: signature[argument].default for argument in signature if argument != "params"}
    for argument, value in settings.items():
        if argument not in arguments:
            raise ConfigError(f"{key}.{argument}", unknown_key(value), did_you_mean(argument, [*arguments, "name"]))
        with keys_under(key):
            check_argument(argument, value, arguments[argument], name)

    def make(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        return kind(parameters, **settings)

    try:  # one step, because many mistakes show only there
        trial = torch.zeros(2, requires_grad=True)
        trial.grad = torch.ones(2)
        make([trial]).step()
        if not trial.isfinite().all():
            raise ValueError("the first step leads to NaN or infinity")
    except Exception as error:
        raise ConfigError(key, f"{name} refuses {dict(settings)}: {error}", "fix the value") from None
    return make
