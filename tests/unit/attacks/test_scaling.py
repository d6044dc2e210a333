"""Scaling by its formula."""

from dataclasses import replace

import pytest
import torch

from fedsim.attacks import AttackView, build_attack
from fedsim.errors import ConfigError
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from support.attack_views import full_view
from support.references import random_rows


@pytest.mark.parametrize("factor", [10.0, -2.0, 0.0, 1.0])
def test_scaling_multiplies_the_own_rows(factor: float) -> None:
    own = random_rows(2, 50)
    assert torch.equal(build_attack("scaling", factor=factor)(full_view(random_rows(3, 50), own)), factor * own)


@pytest.mark.parametrize("factor", [10.0, -2.0, 0.0, 1.0])
def test_scaling_of_weights_multiplies_what_the_client_has_trained(factor: float) -> None:
    own, weights = random_rows(2, 50).double(), random_rows(1, 50, seed=9)[0].double()
    view = full_view(random_rows(3, 50).double(), own)
    view = replace(view, context=replace(view.facts, weights=weights))
    sent = build_attack("scaling", factor=factor, of="weights")(view)
    trained = weights - own  # w_k, as an update is w - w_k
    torch.testing.assert_close(sent, weights - factor * trained)


def test_the_worked_example_of_scaled_weights() -> None:
    own, weights = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([1.0, 0.0, -1.0])
    view = AttackView(
        honest=UpdateMatrix(torch.ones(2, 3)),
        own=UpdateMatrix(own),
        context=RoundContext(client_ids=(0, 1, 2), weights=weights),
    )
    assert build_attack("scaling", of="weights")(view).tolist() == [[1.0, 20.0, 9.0]]


def test_scaling_of_weights_says_that_it_needs_them() -> None:
    view = AttackView(honest=UpdateMatrix(random_rows(3, 50)), own=UpdateMatrix(random_rows(2, 50)))
    with pytest.raises(ConfigError, match=r"weights: missing: the attack 'scaling' needs the global weights"):
        build_attack("scaling", of="weights")(view)
