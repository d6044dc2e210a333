"""What local work waits for on a GPU, counted on a pretended one.

Clipping is looked at on a real one only (test_on_gpu.py): torch sorts gradients by their devices below Python.
"""

from typing import Any

import pytest
import torch
from torch import nn

from fedsim.seeds import seeded
from fedsim.training.local_steps import LocalSteps
from fedsim.training.optimizers import optimizer_maker
from fedsim.updates.model_rows import ModelRows
from support.local_work import CLASSES, LR, classes, rules
from support.pretend_cuda import GPU, PretendCuda
from support.randomness import draws


def deep(layers: int) -> nn.Module:
    with seeded(1):
        hidden = [nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(layers)]
        return nn.Sequential(*hidden, nn.Linear(6, CLASSES))


def counts_of_a_step(optimizer: str, settings: dict[str, Any], layers: int = 2) -> PretendCuda:
    with PretendCuda() as gpu:
        model = deep(layers).to(GPU)
        trained = list(model.parameters())
        stepper = optimizer_maker(optimizer, {"lr": LR}, "x")(trained)
        steps = LocalSteps(rules(**settings), model, trained, stepper, torch.ones(CLASSES).to(GPU))
        inputs, labels = draws(30, 8, 6).to(GPU), classes(31, 8).to(GPU)
        steps.backward(inputs, labels)
        steps.step()
        gpu.reset()
        steps.backward(inputs, labels)
        steps.step()
    return gpu


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("settings", [{}, {"proximal": 0.3}, {"micro_batches": 2}])
def test_nothing_waits_within_a_step(optimizer: str, settings: dict[str, Any]) -> None:
    assert not counts_of_a_step(optimizer, settings).waits


def test_the_proximal_term_takes_as_many_kernels_for_many_parameters_as_for_few() -> None:
    def more(layers: int) -> int:
        with_term = counts_of_a_step("sgd", {"proximal": 0.3}, layers)
        return with_term.launches.total() - counts_of_a_step("sgd", {}, layers).launches.total()

    assert more(2) == more(9) > 0


def test_a_row_that_leaves_the_gpu_is_waited_for_once() -> None:
    with PretendCuda() as gpu:
        rows = ModelRows(deep(9).to(GPU))
        state = torch.cat(rows.read())
        row, out = torch.empty_like(state), torch.empty(len(state))
        gpu.reset()
        rows.write_delta(state, state[:0], row, row[:0])
        out.copy_(row)
    assert gpu.waits.total() == 1
