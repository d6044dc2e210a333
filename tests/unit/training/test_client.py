"""Batches of a client, and the row that it sends."""

from typing import Any

import pytest
import torch
from torch import nn

from fedsim.data import TensorSamples
from fedsim.data.inputs import Inputs
from fedsim.seeds import derive_generator, derive_seed, seeded
from fedsim.training.client import ClientData, LocalWork, Trainer, batches
from fedsim.training.optimizers import optimizer_maker
from fedsim.updates.model_rows import ModelRows

SGD = optimizer_maker("sgd", {"lr": 0.1}, "x")
CPU = torch.device("cpu")


def work(**changes: Any) -> LocalWork:
    usual: dict[str, Any] = {"epochs": 1, "steps": None, "batch_size": 4, "send": "delta", "make_optimizer": SGD}
    return LocalWork(**{**usual, **changes})


def digits(count: int = 10) -> TensorSamples:
    generator = torch.Generator().manual_seed(0)
    return TensorSamples(torch.randn(count, 3, generator=generator), torch.arange(count) % 2)


def own_labels(client: int, round_index: int) -> torch.Tensor:
    """What the clients here, who hold the first samples, train on."""
    return digits().labels


def test_an_epoch_sees_every_sample_once_and_no_batch_of_one() -> None:
    drawn = list(batches(9, work(), derive_generator(0, "t")))
    assert [len(batch) for batch in drawn] == [4, 4]  # the ninth sample would be a batch of its own
    assert len(set(torch.cat(drawn).tolist())) == 8
    assert list(batches(1, work(steps=3), derive_generator(0, "t"))) == []


def test_local_steps_go_over_the_data_again_in_a_new_order() -> None:
    drawn = list(batches(8, work(steps=5), derive_generator(0, "t")))
    assert len(drawn) == 5
    assert not torch.equal(torch.cat(drawn[:2]), torch.cat(drawn[2:4]))


@pytest.mark.parametrize("send", ["delta", "gradient"])
def test_the_row_of_one_step_is_the_gradient_by_hand(send: str) -> None:
    model = nn.Linear(3, 2)
    rows, samples = ModelRows(model), digits(4)
    state = torch.cat(rows.read())
    out = torch.full_like(state, torch.nan)
    trainer = Trainer(rows, ClientData(Inputs(samples), [torch.arange(4)], own_labels), work(send=send, steps=1), 0)
    trainer.update(0, 0, state, out)
    rows.load(state, state[:0])
    model.zero_grad()
    nn.functional.cross_entropy(model(samples.inputs), samples.labels).backward()
    gradient = torch.cat([model.weight.grad.flatten(), model.bias.grad])
    assert torch.allclose(out, gradient * (0.1 if send == "delta" else 1.0), atol=1e-6)


def test_local_training_equals_a_plain_loop_and_leaves_global_randomness_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    rows, samples = ModelRows(model), digits()
    state = torch.cat(rows.read())
    out = torch.empty_like(state)
    before = torch.get_rng_state()
    Trainer(rows, ClientData(Inputs(samples), [torch.arange(10)], own_labels), work(epochs=2), 5).update(
        0, 3, state, out
    )
    assert torch.equal(torch.get_rng_state(), before)

    rows.load(state, state[:0])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    order = derive_generator(5, "batches", 3, 0)
    with seeded(derive_seed(5, "local work", 3, 0)):
        for batch in batches(10, work(epochs=2), order):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(samples.inputs[batch]), samples.labels[batch]).backward()
            optimizer.step()
    assert torch.equal(out, state - torch.cat(rows.read()))


def test_a_client_without_a_batch_sends_zero() -> None:
    rows = ModelRows(nn.Linear(3, 2))
    state = torch.cat(rows.read())
    out = torch.full_like(state, 7.0)
    Trainer(rows, ClientData(Inputs(digits()), [torch.arange(1)], own_labels), work(), 0).update(0, 0, state, out)
    assert not out.any()


def test_a_wire_dtype_rounds_the_row() -> None:
    rows = ModelRows(nn.Linear(3, 2))
    state = torch.cat(rows.read())
    out = torch.empty_like(state)
    half = work(wire_dtype=torch.bfloat16)
    Trainer(rows, ClientData(Inputs(digits()), [torch.arange(10)], own_labels), half, 0).update(0, 0, state, out)
    assert torch.equal(out, out.bfloat16().float())
    assert out.any()


def test_poisoned_labels_leave_the_batches_as_they_were() -> None:
    seen: list[torch.Tensor] = []

    class Spy(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            seen.append(inputs)
            return super().forward(inputs)

    rows = ModelRows(Spy(3, 2))
    state = torch.cat(rows.read())
    outs = []
    for labels in (digits().labels, 1 - digits().labels):
        out, given = torch.empty_like(state), lambda client, round_index, labels=labels: labels
        Trainer(rows, ClientData(Inputs(digits()), [torch.arange(10)], given), work(), 0).update(0, 0, state, out)
        outs.append(out)
    assert all(torch.equal(a, b) for a, b in zip(seen[: len(seen) // 2], seen[len(seen) // 2 :], strict=True))
    assert not torch.equal(*outs)
