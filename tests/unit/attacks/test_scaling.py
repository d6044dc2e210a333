"""Scaling by its formula."""

import pytest
import torch

from fedsim.attacks import build_attack
from support.attack_views import full_view
from support.references import random_rows


@pytest.mark.parametrize("factor", [10.0, -2.0, 0.0, 1.0])
def test_scaling_multiplies_the_own_rows(factor: float) -> None:
    own = random_rows(2, 50)
    assert torch.equal(build_attack("scaling", factor=factor)(full_view(random_rows(3, 50), own)), factor * own)
