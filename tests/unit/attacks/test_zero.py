"""Rows of zeros."""

import torch

from fedsim.attacks import build_attack
from support.attack_views import round_view
from support.references import random_rows


def test_zero_sends_zeros() -> None:
    sent = build_attack("zero")(round_view(random_rows(3, 20), random_rows(2, 20)))
    assert torch.equal(sent, torch.zeros(2, 20))
