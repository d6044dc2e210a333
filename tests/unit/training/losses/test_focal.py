"""The focal loss by its formula."""

import pytest
import torch
from torch.nn import functional as F

from fedsim.training.losses.focal import Focal
from support.local_work import CLASSES, classes
from support.randomness import draws


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_loss_by_the_formula(gamma: float) -> None:
    logits, labels = 4 * draws(8, 50, CLASSES), classes(9, 50)
    p = logits.double().softmax(1)[torch.arange(50), labels]
    by_hand = -((1 - p) ** gamma) * p.log()
    assert torch.allclose(Focal(gamma=gamma).of_samples(logits, labels).double(), by_hand, rtol=1e-4, atol=1e-7)


def test_focal_loss_without_gamma_is_cross_entropy_and_gamma_lowers_what_easy_samples_count() -> None:
    logits, labels = draws(10, 12, CLASSES), classes(11, 12)
    entropy = F.cross_entropy(logits, labels, reduction="none")
    assert torch.allclose(Focal(gamma=0.0).of_samples(logits, labels), entropy)
    ratio = Focal(gamma=2.0).of_samples(logits, labels) / entropy
    order = entropy.argsort()
    assert (ratio[order].diff() > 0).all()
    assert ((ratio > 0) & (ratio < 1)).all()
