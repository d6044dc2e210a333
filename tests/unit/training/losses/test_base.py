"""Weights of classes."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fedsim.errors import ConfigError
from fedsim.training.losses import ClassCounts, losses
from support.local_work import CLASSES
from support.randomness import draws

COUNTS = ClassCounts(torch.tensor([4, 0, 1, 5]), torch.tensor([10, 10, 0, 20]))


@pytest.mark.parametrize("name", losses.describe())
def test_class_weights_by_hand(name: str) -> None:
    def weights(wanted: Any) -> Tensor | None:
        return losses.build(name, class_weights=wanted).class_weights(COUNTS)

    assert losses.build(name).class_weights(COUNTS) is None
    assert weights("none") is None
    for wanted, expected in (
        ("client", [10 / 16, 0.0, 10 / 4, 10 / 20]),
        ("global", [1.0, 1.0, 0.0, 0.5]),
        ([0.5, 0.0, 3.0, 1.0], [0.5, 0.0, 3.0, 1.0]),
        ([1, 2, 3, 4], [1.0, 2.0, 3.0, 4.0]),
    ):
        given = weights(wanted)
        assert given is not None
        assert given.dtype == torch.float32
        assert given.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", losses.describe())
def test_under_weights_of_its_own_classes_a_client_minimises_the_mean_of_its_classes(name: str) -> None:
    labels, logits = torch.tensor([0, 0, 0, 0, 2, 3, 3]), draws(12, 7, CLASSES)
    loss = losses.build(name, class_weights="client")
    weights = loss.class_weights(ClassCounts(torch.bincount(labels, minlength=CLASSES), torch.ones(CLASSES)))
    each = loss.of_samples(logits, labels)
    by_class = torch.stack([each[labels == label].mean() for label in (0, 2, 3)])
    assert torch.allclose(loss.mean(logits, labels, weights), by_class.mean())


@pytest.mark.parametrize("name", losses.describe())
def test_a_batch_of_weightless_classes_costs_nothing_and_has_no_gradient(name: str) -> None:
    logits = draws(13, 5, CLASSES).requires_grad_()
    labels, loss = torch.tensor([2, 2, 0, 0, 2]), losses.build(name)
    value = loss.mean(logits, labels, torch.tensor([0.0, 1.0, 0.0, 1.0]))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()  # NaN is true


@pytest.mark.parametrize("name", losses.describe())
@pytest.mark.parametrize("wanted", [[], [1.0] * 3, [1.0] * 5])
def test_a_list_of_weights_of_the_wrong_length_is_an_error(name: str, wanted: list[float]) -> None:
    with pytest.raises(ConfigError) as caught:
        losses.build(name, class_weights=wanted).class_weights(COUNTS)
    assert caught.value.key == "class_weights"
    assert f"{len(wanted)} weights for 4 classes" in str(caught.value)


@pytest.mark.parametrize("name", losses.describe())
@pytest.mark.parametrize("wanted", ["clients", 1.0, [1.0, -1.0, 1.0, 1.0], [1.0, float("nan"), 1.0, 1.0]])
def test_impossible_class_weights_are_an_error(name: str, wanted: Any) -> None:
    with pytest.raises(ConfigError, match=r"^class_weights"):
        losses.build(name, class_weights=wanted)
