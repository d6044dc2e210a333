"""What holds for every loss."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fedsim.errors import ConfigError
from fedsim.training.losses import Loss, losses
from fedsim.training.losses.cross_entropy import CrossEntropy
from fedsim.training.losses.focal import Focal
from support.local_work import CLASSES, classes
from support.randomness import draws


@pytest.mark.parametrize("name", losses.describe())
def test_the_mean_of_a_loss_is_the_mean_of_its_samples(name: str) -> None:
    loss, logits, labels = losses.build(name), draws(0, 9, CLASSES), classes(1, 9)
    each = loss.of_samples(logits, labels)
    assert each.shape == (9,)
    assert torch.allclose(loss.mean(logits, labels, None), each.mean())
    weights = torch.tensor([0.5, 2.0, 0.0, 1.0])
    by_hand = sum(weights[k] * e for k, e in zip(labels, each, strict=True)) / sum(weights[k] for k in labels)
    assert torch.allclose(loss.mean(logits, labels, weights), by_hand)
    assert torch.allclose(loss.mean(logits, labels, torch.full((CLASSES,), 3.0)), each.mean())


@pytest.mark.parametrize("name", losses.describe())
def test_a_sample_has_the_same_loss_in_any_batch_and_a_wrong_class_costs_more(name: str) -> None:
    loss, logits, labels = losses.build(name), draws(2, 9, CLASSES), classes(3, 9)
    each = loss.of_samples(logits, labels)
    alone = torch.cat([loss.of_samples(logits[i : i + 1], labels[i : i + 1]) for i in range(9)])
    assert torch.allclose(each, alone, atol=1e-6)
    certain = 8.0 * F.one_hot(labels, CLASSES)
    assert (loss.of_samples(certain, labels) < loss.of_samples(certain, (labels + 1) % CLASSES)).all()


@pytest.mark.parametrize("name", losses.describe())
def test_the_gradient_of_a_loss_is_its_slope(name: str) -> None:
    loss, labels = losses.build(name), classes(4, 5)
    logits = draws(5, 5, CLASSES).double().requires_grad_()
    for weights in (None, torch.tensor([0.5, 2.0, 0.0, 1.0], dtype=torch.float64)):
        assert torch.autograd.gradcheck(lambda x, w=weights: loss.mean(x, labels, w), (logits,))


EXTREME = [
    *(losses.build(name) for name in losses.describe()),
    *(Focal(gamma=gamma) for gamma in (0.0, 0.1, 0.5, 1.0, 1.5, 5.0)),
    CrossEntropy(label_smoothing=0.2),
]


@pytest.mark.parametrize("loss", EXTREME, ids=repr)
@pytest.mark.parametrize("weights", [None, torch.tensor([0.0, 1.0, 2.0, 1.0])], ids=["alike", "weighted"])
@pytest.mark.parametrize("scale", [1.0, 20.0, 100.0, 1e4])
def test_losses_and_their_gradients_are_finite_at_extreme_logits(
    loss: Loss, weights: Tensor | None, scale: float
) -> None:
    right, wrong = torch.full((1, CLASSES), -scale), torch.full((1, CLASSES), scale)
    right[0, 1], wrong[0, 1] = scale, -scale
    logits = torch.cat([right, wrong, right * 0, wrong * 2 + right]).requires_grad_()
    labels = torch.tensor([1, 1, 1, 2])
    assert loss.of_samples(logits, labels).isfinite().all()
    value = loss.mean(logits, labels, weights)
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("focal", {"gamma": -0.1}),
        ("focal", {"gamma": float("nan")}),
        ("cross_entropy", {"label_smoothing": 1.0}),
        ("cross_entropy", {"label_smoothing": -0.1}),
        ("cross_entropy", {"gamma": 1.0}),
    ],
)
def test_impossible_settings_of_losses_are_errors(name: str, settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"^{next(iter(settings))}"):
        losses.build(name, **settings)
