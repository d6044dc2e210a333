"""Clients that are trained at once, against a Trainer that takes them one after another."""

import re
from collections.abc import Callable
from math import isnan
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedsim.data import Samples
from fedsim.data.augmentations import augmentations
from fedsim.data.inputs import View
from fedsim.stop_request import StopRequest
from fedsim.training.client import batches, count_batches
from fedsim.training.freezing import freeze
from fedsim.training.losses.cross_entropy import CrossEntropy
from fedsim.training.losses.focal import Focal
from fedsim.training.optimizers import optimizer_maker
from fedsim.training.schedules import schedules
from support.local_work import rules, work
from support.vectorized import (
    CLASSES,
    CLIENTS,
    SHARES,
    SIZES,
    Clients,
    conv,
    larger_pictures,
    largest_difference,
    packaged,
    pictures,
    smooth,
    vectors,
)

TOLERANCE = 1e-5
"""Of a row, in its length: what docs/training.md states."""


def optimizer(name: str, **settings: Any) -> dict[str, Any]:
    return {"make_optimizer": optimizer_maker(name, settings, "x")}


def in_words(settings: dict[str, Any]) -> str:
    """A name that is the same in every process: what is made has an address in its own."""
    return ", ".join(f"{name}={re.sub(' at 0x[0-9a-f]+', '', str(value))}" for name, value in settings.items())


def assert_equal_but_for_rounding(clients: Clients, tolerance: float = TOLERANCE) -> Tensor:
    (rows, losses), (others, their_losses) = clients.at_once(), clients.in_turn()
    assert largest_difference(rows, others) < tolerance
    assert losses == pytest.approx(their_losses, rel=1e-5, nan_ok=True)
    assert rows.any(dim=1).tolist() == [size > 1 for size in SIZES]
    return rows


@pytest.mark.parametrize(("make", "samples"), [(smooth, vectors), (conv, pictures)])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"epochs": 1},
        {"steps": 1},
        {"steps": 7},  # more than two passes of some, less than one of others
        {"batch_size": 100},
        optimizer("sgd", lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
        optimizer("adam", lr=0.01),
        optimizer("adamw", lr=0.01, weight_decay=0.1, amsgrad=True),
        optimizer("rmsprop", lr=0.01, momentum=0.5, centered=True),
        optimizer("adagrad", lr=0.05),
        optimizer("fedyogi", lr=0.01),
        {"rules": rules(proximal=2.0)},
        {"rules": rules(clip_norm=0.2)},
        {"rules": rules(clip_norm=0.2, proximal=2.0, micro_batches=2)},
        {"rules": rules(micro_batches=3, loss=CrossEntropy(class_weights=[0.0, 2.0, 1.0, 0.5]))},
        {"rules": rules(loss=CrossEntropy(class_weights="client", label_smoothing=0.1))},
        {"rules": rules(loss=CrossEntropy(class_weights="global"))},
        {"rules": rules(loss=Focal(gamma=2.0, class_weights="client"))},
        {"schedule": schedules.build("steps", after=[2], by=0.5)},
        {"send": "gradient", "steps": 1},
        {"send": "gradient", "steps": 1, "rules": rules(clip_norm=0.2, micro_batches=2)},
    ],
    ids=in_words,
)
def test_rows_are_those_of_one_client_after_another(
    make: Callable[[], nn.Module], samples: Callable[[], Samples], settings: dict[str, Any]
) -> None:
    assert_equal_but_for_rounding(Clients(make(), work(**settings), samples()))


def test_many_steps_stay_within_the_tolerance() -> None:
    given = work(steps=60, **optimizer("sgd", lr=0.05, momentum=0.9))
    assert_equal_but_for_rounding(Clients(smooth(), given))


@pytest.mark.parametrize("name", ["small_cnn", "mlp"])
def test_the_models_of_the_package_with_their_kinks(name: str) -> None:
    given = work(**optimizer("sgd", lr=0.02, momentum=0.9))
    assert_equal_but_for_rounding(Clients(packaged(name), given, larger_pictures()), 1e-4)


def test_each_client_has_its_own_augmentations() -> None:
    view = View(augmentations=[augmentations.build("flip", vertical=0.5)], crop=3)
    augmented = assert_equal_but_for_rounding(Clients(smooth(27), work(), pictures(), view=view))
    view = View(augmentations=[augmentations.build("flip")], crop=3)
    others = Clients(smooth(27), work(), pictures(), view=view)
    assert largest_difference(augmented, others.in_turn()[0]) > 0.01


def test_only_the_attackers_labels_are_flipped() -> None:
    labels = vectors().labels

    def flipped(client: int, round_index: int) -> Tensor:
        own = labels[SHARES[client]]
        return CLASSES - 1 - own if client in (0, 4) else own

    weighted = {"rules": rules(loss=CrossEntropy(class_weights="client"))}
    attacked = assert_equal_but_for_rounding(Clients(smooth(), work(**weighted), labels_of=flipped))
    clean = Clients(smooth(), work(**weighted)).at_once()[0]
    assert [not torch.equal(*pair) for pair in zip(attacked, clean, strict=True)] == [
        one in (0, 4) for one in CLIENTS
    ]


def test_a_wire_dtype_rounds_each_row() -> None:
    rows = Clients(smooth(), work(wire_dtype=torch.bfloat16)).at_once()[0]
    assert torch.equal(rows, rows.bfloat16().float())
    exact = Clients(smooth(), work()).at_once()[0]
    assert torch.equal(rows, exact.bfloat16().float())


def test_frozen_parameters_stay_and_are_not_sent() -> None:
    model = smooth()
    freeze(model, ["1.*"])
    frozen = model.get_parameter("1.weight")
    before = frozen.clone()
    rows = assert_equal_but_for_rounding(Clients(model, work()))
    assert rows.shape[1] == 8 * CLASSES + CLASSES
    assert torch.equal(frozen, before)


def test_tied_weights_are_one_parameter() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 6)
            self.second = nn.Linear(6, 6)
            self.second.weight = self.first.weight

        def forward(self, inputs: Tensor) -> Tensor:
            return self.second(self.first(inputs).tanh())[:, :CLASSES]

    rows = assert_equal_but_for_rounding(Clients(Tied(), work()))
    assert rows.shape[1] == 36 + 6 + 6


def test_buffers_that_training_leaves_are_sent_as_zero() -> None:
    model = smooth()
    model.register_buffer("scale", torch.full((3,), 2.0))
    rows = Clients(model, work()).at_once()[0]
    assert not rows[:, -3:].any()


def test_the_order_in_a_group_leaves_every_bit() -> None:
    clients = Clients(smooth(), work(**optimizer("adam", lr=0.01)))
    rows, losses = clients.at_once([3, 6, 2, 4])  # 4 and 6 have as many steps
    again, same_losses = clients.at_once([2, 4, 3, 6])
    assert torch.equal(rows, again[[2, 3, 0, 1]])
    assert losses[0] == same_losses[2]
    assert isnan(losses[2])


def test_a_client_that_diverges_leaves_the_others_every_bit() -> None:
    good, bad = vectors(), vectors()
    bad.inputs[SHARES[3]] = torch.inf
    rows, losses = Clients(smooth(), work(), bad).at_once()
    expected, expected_losses = Clients(smooth(), work(), good).at_once()
    others = [client for client in CLIENTS if client != 3]
    assert torch.equal(rows[others], expected[others])
    assert not rows[3].isfinite().any()
    assert isnan(losses[3])
    assert losses[:2] == expected_losses[:2]


def test_global_randomness_and_state_stay_as_they_were() -> None:
    clients = Clients(smooth(), work())
    state, random = clients.state.clone(), torch.get_rng_state()
    clients.at_once()
    assert torch.equal(clients.state, state)
    assert torch.equal(torch.get_rng_state(), random)


class Watched(CrossEntropy):
    """Counts the steps."""

    steps = 0

    def of_samples(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.steps += 1
        return super().of_samples(logits, labels)


class StopAfterTwo(StopRequest):
    """A request that comes during the second step."""

    def __init__(self, loss: Watched) -> None:
        super().__init__()
        self.loss = loss

    @property
    def received(self) -> bool:
        return self.loss.steps >= 2


def test_a_request_to_stop_ends_the_work_after_a_step() -> None:
    loss = Watched()
    Clients(smooth(), work(steps=50, rules=rules(loss=loss)), stop=StopAfterTwo(loss)).at_once()
    assert loss.steps == 2


class StopAtOnce(StopRequest):
    """A request that has come before the first step."""

    received = True


@pytest.mark.parametrize("settings", [{}, {"send": "gradient", "steps": 1}], ids=str)
def test_a_request_before_the_first_step_is_no_error(settings: dict[str, Any]) -> None:
    rows, losses = Clients(smooth(), work(**settings), stop=StopAtOnce()).at_once()
    assert not rows.any()
    assert losses == pytest.approx([float("nan")] * len(SIZES), nan_ok=True)


def test_groups_without_any_batch_send_zero() -> None:
    rows, losses = Clients(smooth(), work()).at_once([2, 5])
    assert not rows.any()
    assert all(map(isnan, losses))


@pytest.mark.parametrize("settings", [{}, {"epochs": 3}, {"steps": 4}, {"batch_size": 2}], ids=str)
def test_batches_are_counted_without_being_drawn(settings: dict[str, Any]) -> None:
    given = work(**settings)
    for count in range(14):
        assert count_batches(count, given) == len(list(batches(count, given, torch.Generator())))
