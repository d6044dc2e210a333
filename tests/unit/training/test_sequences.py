"""Local work on sequences with a class for each position, against loops over the positions."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedsim.data import TensorSamples
from fedsim.data.inputs import Inputs
from fedsim.data.labels import IGNORED, count_classes
from fedsim.seeds import derive_generator, derive_seed, seeded
from fedsim.training.client import ClientData, LocalWork, Trainer, batches
from fedsim.training.losses import Loss, losses
from fedsim.training.losses.cross_entropy import CrossEntropy
from fedsim.training.losses.focal import Focal
from fedsim.training.optimizers import optimizer_maker
from fedsim.updates.model_rows import ModelRows
from support.local_work import rules
from support.texts import tiny, tokens
from support.vectorized import CLIENTS, SHARES, Clients, largest_difference

LENGTH, CLASSES = 6, 5
ROUND, SEED = 3, 5
WEIGHTS = torch.tensor([0.5, 2.0, 0.0, 1.0, 3.0])


def work(**changes: Any) -> LocalWork:
    usual = {"epochs": 2, "steps": None, "batch_size": 5, "send": "delta"}
    return LocalWork(**{**usual, "make_optimizer": optimizer_maker("sgd", {"lr": 0.5}, "x"), **changes})


def loss_of_a_position(loss: Loss, logits: list[float], label: int) -> float:
    """By its formula, in floats."""
    total = sum(math.exp(value) for value in logits)
    log_p = [value - math.log(total) for value in logits]
    if isinstance(loss, Focal):
        return -((1 - math.exp(log_p[label])) ** loss.settings.gamma) * log_p[label]
    assert isinstance(loss, CrossEntropy)
    smoothing = loss.settings.label_smoothing
    return -(1 - smoothing) * log_p[label] - smoothing / len(logits) * sum(log_p)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("loss", [CrossEntropy(), CrossEntropy(label_smoothing=0.2), Focal(), Focal(gamma=0.0)])
def test_the_mean_is_that_of_a_loop_over_the_positions_that_have_a_class(loss: Loss, weights: Tensor | None) -> None:
    labels = tokens(7, LENGTH, CLASSES).labels
    logits = torch.randn(7, LENGTH, CLASSES, generator=torch.Generator().manual_seed(0))
    total = weighed = 0.0
    for sample in range(7):
        for position in range(LENGTH):
            label = int(labels[sample, position])
            if label != IGNORED:
                weight = 1.0 if weights is None else float(weights[label])
                total += weight * loss_of_a_position(loss, logits[sample, position].tolist(), label)
                weighed += weight
    assert float(loss.mean(logits, labels, weights)) == pytest.approx(total / weighed, rel=1e-5)


@pytest.mark.parametrize("name", losses.describe())
def test_what_an_ignored_position_predicts_changes_neither_the_loss_nor_its_gradient(name: str) -> None:
    labels = tokens(4, LENGTH, CLASSES).labels
    found = []
    for filled in (0.0, 7.0):
        logits = torch.randn(4, LENGTH, CLASSES, generator=torch.Generator().manual_seed(0))
        logits[labels == IGNORED] = torch.tensor([filled, *[0.0] * (CLASSES - 1)])
        logits.requires_grad_()
        loss = losses.build(name).mean(logits, labels, None)
        loss.backward()
        assert logits.grad is not None
        assert not logits.grad[labels == IGNORED].any()
        found.append((loss.detach(), logits.grad))
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def trained(model: nn.Module, given: LocalWork, samples: TensorSamples) -> tuple[Tensor, float]:
    """The parameters after the round of the client with all samples, and its loss."""
    rows, share = ModelRows(model), torch.arange(len(samples))
    state = torch.cat(rows.read())
    data = ClientData(Inputs(samples), [share], lambda client, round_index: samples.labels, CLASSES)
    loss = Trainer(rows, data, given, SEED).update(0, ROUND, state, torch.empty_like(state))
    return torch.cat(rows.read()), loss


@pytest.mark.parametrize("per_token", [True, False])
@pytest.mark.parametrize("name", ["lstm", "transformer"])
def test_a_client_alone_equals_a_plain_loop_bit_for_bit(name: str, per_token: bool) -> None:
    samples = tokens(13, LENGTH, CLASSES)
    if not per_token:
        samples = TensorSamples(samples.inputs, samples.labels[:, 0])
    after, loss = trained(tiny(name, LENGTH, CLASSES, per_token=per_token), work(), samples)
    plain = tiny(name, LENGTH, CLASSES, per_token=per_token)
    stepper, seen = torch.optim.SGD(plain.parameters(), lr=0.5), []
    with seeded(derive_seed(SEED, "local work", ROUND, 0)):
        for batch in batches(13, work(), derive_generator(SEED, "batches", ROUND, 0)):
            stepper.zero_grad()
            logits = plain(samples.inputs[batch]).reshape(-1, CLASSES)
            of_batch = F.cross_entropy(logits, samples.labels[batch].reshape(-1))
            of_batch.backward()
            stepper.step()
            seen.append(of_batch.item())
    assert torch.equal(after, torch.cat(ModelRows(plain).read()))
    assert loss == pytest.approx(sum(seen) / len(seen), rel=1e-6)


@pytest.mark.parametrize("weighted", ["none", "client"])
def test_pieces_of_a_batch_count_by_their_positions(weighted: str) -> None:
    """Padded sequences have fewer, so that a piece is not worth its share of the samples."""
    samples, loss = tokens(10, LENGTH, CLASSES), CrossEntropy(class_weights=weighted)
    whole, pieces = (
        trained(
            tiny("transformer", LENGTH, CLASSES),
            work(batch_size=10, rules=rules(loss=loss, micro_batches=number)),
            samples,
        )
        for number in (1, 3)
    )
    assert torch.allclose(whole[0], pieces[0], atol=1e-6)
    assert whole[1] == pytest.approx(pieces[1], rel=1e-5)


@pytest.mark.parametrize("loss", [CrossEntropy(), Focal(class_weights="client")])
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_clients_at_once_are_those_one_after_another(loss: Loss, micro_batches: int) -> None:
    samples = tokens(sum(map(len, SHARES)), LENGTH, CLASSES)
    given = work(rules=rules(loss=loss, micro_batches=micro_batches))
    clients = Clients(tiny("transformer", LENGTH, CLASSES), given, samples)
    (rows, at_once), (others, in_turn) = clients.at_once(CLIENTS), clients.in_turn(CLIENTS)
    assert largest_difference(rows, others) < 1e-5
    assert at_once == pytest.approx(in_turn, rel=1e-5, nan_ok=True)


@pytest.mark.parametrize("name", ["lstm", "transformer"])
def test_a_client_has_the_same_bits_on_any_rank_whoever_trained_there_before(name: str) -> None:
    samples = tokens(sum(map(len, SHARES)), LENGTH, CLASSES)
    one = Clients(tiny(name, LENGTH, CLASSES), work(), samples).in_turn(CLIENTS)
    for rank in range(2):
        hosted = [client for client in reversed(CLIENTS) if client % 2 == rank]
        rows, found = Clients(tiny(name, LENGTH, CLASSES), work(), samples).in_turn(hosted)
        assert torch.equal(rows, one[0][hosted])
        assert found == pytest.approx([one[1][client] for client in hosted], rel=0, nan_ok=True)


def test_classes_are_counted_by_position() -> None:
    samples = tokens(9, LENGTH, CLASSES)
    data = ClientData(Inputs(samples), [torch.arange(9)], lambda client, round_index: samples.labels, CLASSES + 1)
    by_hand = [sum(label == k for row in samples.labels.tolist() for label in row) for k in range(CLASSES + 1)]
    assert data.class_counts().tolist() == by_hand == count_classes(samples.labels, CLASSES + 1).tolist()
