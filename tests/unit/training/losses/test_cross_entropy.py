"""Cross-entropy, against PyTorch's."""

import pytest
import torch
from torch.nn import functional as F

from fedsim.training.losses import losses
from support.local_work import CLASSES, classes
from support.randomness import draws


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_cross_entropy_is_that_of_torch(smoothing: float) -> None:
    logits, labels, weights = draws(6, 11, CLASSES), classes(7, 11), torch.tensor([0.3, 2.0, 0.0, 1.5])
    loss = losses.build("cross_entropy", label_smoothing=smoothing)
    assert torch.equal(loss.mean(logits, labels, None), F.cross_entropy(logits, labels, label_smoothing=smoothing))
    target = (1 - smoothing) * F.one_hot(labels, CLASSES).double() + smoothing / CLASSES
    each = -(target * logits.double().log_softmax(1)).sum(1)
    assert torch.allclose(loss.of_samples(logits, labels).double(), each, atol=1e-6)
    by_hand = (weights[labels] * each).sum() / weights[labels].sum()
    assert loss.mean(logits, labels, weights).item() == pytest.approx(by_hand.item(), rel=1e-5)
    if smoothing == 0:
        assert torch.allclose(loss.mean(logits, labels, weights), F.cross_entropy(logits, labels, weight=weights))
