"""Arguments of optimisers: what torch would take in silence, or refuse without the argument's name."""

from typing import Any

import pytest
import torch

from fedsim.errors import ConfigError
from fedsim.training.optimizers import available_optimizers, optimizer_maker
from support.local_work import LR, Trained, smooth, work


@pytest.mark.parametrize(
    ("optimizer", "argument", "value", "words"),
    [
        ("sgd", "lr", True, "True is not a finite number"),
        ("sgd", "momentum", False, "False is not a finite number"),
        ("adam", "eps", True, "True is not a finite number"),
        ("adamw", "betas", [True, 0.9], "each is a finite number"),
        ("fedadam", "tau", True, "True is not a finite number"),
        ("sgd", "lr", "0.1", "'0.1' is not a finite number"),
        ("sgd", "lr", [0.1], "[0.1] is not a finite number"),
        ("sgd", "lr", 10**400, "is not a finite number"),
        ("sgd", "lr", 1e39, "is not a finite number"),
        ("sgd", "momentum", 1.01, "1.01 is not a number from 0 to 1"),
        ("rmsprop", "momentum", 2, "2 is not a number from 0 to 1"),
        ("rmsprop", "alpha", 1.5, "1.5 is not a number from 0 to 1"),
        ("sgd", "dampening", -3, "-3 is not a number from 0 to 1"),
        ("sgd", "weight_decay", -0.1, "-0.1 is not a number of 0 or more"),
        ("asgd", "lambd", -1.0, "-1.0 is not a number of 0 or more"),
        ("asgd", "t0", -1, "-1 is not a number of 0 or more"),
        ("nadam", "betas", [0.9, 1.0], "each is a number from 0 to below 1"),
        ("adamax", "betas", [0.9], "[0.9] is not a list of 2 numbers"),
        ("adam", "betas", "0.9, 0.99", "is not a list of 2 numbers"),
        ("adafactor", "beta2_decay", 0.8, "0.8 is not a number of 0 or less"),
        ("adafactor", "eps", [None, None], "each is a finite number"),
        ("rprop", "step_sizes", [50, 0.1], "is not in ascending order"),
        ("sgd", "nesterov", 1, "1 is not true or false"),
        ("adam", "amsgrad", "yes", "'yes' is not true or false"),
        ("adam", "foreach", 0.5, "0.5 is not true, false or null"),
        ("adagrad", "fused", "x", "'x' is not true, false or null"),
    ],
)
def test_what_is_of_another_kind_or_beyond_its_limits_is_named(
    optimizer: str, argument: str, value: Any, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        optimizer_maker(optimizer, {argument: value}, "clients.optimizer")
    assert caught.value.key == f"clients.optimizer.{argument}"
    assert words in str(caught.value)
    assert f"{optimizer} has" in str(caught.value)


@pytest.mark.parametrize("name", available_optimizers())
def test_every_optimizer_takes_its_own_defaults(name: str) -> None:
    optimizer_maker(name, {}, "server.optimizer")


@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [
        ("sgd", {"lr": 1, "momentum": 0.9, "weight_decay": 0, "nesterov": True, "foreach": None}),
        ("adafactor", {"eps": [None, 0.01], "beta2_decay": -1}),
        ("adam", {"betas": [0.0, 0.5], "fused": True}),
        ("rprop", {"etas": [0.5, 1.2], "step_sizes": [1e-3, 1]}),
        ("sgd", {"lr": 0.1, "momentum": 0.9, "fused": True}),
        ("adamw", {"foreach": True}),
        ("rmsprop", {"foreach": False}),
    ],
)
def test_sensible_values_are_taken(optimizer: str, settings: dict[str, Any]) -> None:
    optimizer_maker(optimizer, settings, "server.optimizer")


@pytest.mark.parametrize(
    ("optimizer", "settings", "words"),
    [
        ("adamw", {"fused": True, "foreach": True}, "cannot be `True` together"),
        ("rmsprop", {"fused": True}, "clients.optimizer.fused: unknown key"),
        ("adamw", {"capturable": True}, "capturable"),
    ],
)
def test_a_way_of_stepping_that_torch_lacks_is_refused(optimizer: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        optimizer_maker(optimizer, settings, "clients.optimizer")
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "adagrad"])
def test_a_fused_step_is_nearly_that_of_separate_kernels(name: str) -> None:
    given = [work(make_optimizer=optimizer_maker(name, {"lr": LR, "fused": fused}, "x")) for fused in (True, False)]
    fused, separate = (Trained(smooth, one) for one in given)
    torch.testing.assert_close(fused.out, separate.out, atol=1e-5, rtol=1e-4)


def test_a_first_step_to_infinity_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^server\.optimizer: rmsprop refuses .* NaN or infinity"):
        optimizer_maker("rmsprop", {"alpha": 1, "lr": 9e37}, "server.optimizer")
