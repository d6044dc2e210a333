"""ALIE by its formula."""

import math

import byzfl
import pytest
import torch
from scipy.stats import norm

from fedsim.attacks import build_attack
from fedsim.attacks.alie import largest_hidden_z
from support.attack_views import full_view
from support.references import random_rows


@pytest.mark.parametrize("honest", [1, 2, 3, 40])
@pytest.mark.parametrize("z", [1.0, -0.5, 0.0, 1.5])
def test_alie_is_the_mean_minus_z_unbiased_deviations(z: float, honest: int) -> None:
    rows = random_rows(honest, 200)
    sent = build_attack("alie", z=z)(full_view(rows, torch.zeros(3, 200)))
    wide = rows.double()
    expected = wide.mean(0) - (z * wide.std(0, unbiased=True) if honest > 1 else 0)
    torch.testing.assert_close(sent.double(), expected.expand(3, -1), rtol=1e-6, atol=1e-7)


def test_alie_equals_byzfl_with_the_opposite_sign_of_z() -> None:
    rows = random_rows(6, 200)
    sent = build_attack("alie", z=1.5)(full_view(rows, torch.zeros(1, 200)))
    torch.testing.assert_close(sent[0], byzfl.ALittleIsEnough(-1.5)(rows), rtol=1e-5, atol=1e-6)


def test_alie_keeps_the_spread_of_rows_that_differ_in_the_seventh_digit() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = 1000 + 1e-3 * torch.randn(5, 200, generator=generator)
    sent = build_attack("alie", z=1e4)(full_view(rows, torch.zeros(1, 200)))
    wide = rows.double()
    torch.testing.assert_close(sent[0].double(), wide.mean(0) - 1e4 * wide.std(0), rtol=1e-6, atol=1e-4)


def test_the_z_of_the_paper() -> None:
    assert round(largest_hidden_z(50, 24), 2) == 1.43


@pytest.mark.parametrize(("clients", "byzantine"), [(5, 2), (7, 3), (8, 3), (10, 4), (20, 9), (50, 24), (100, 10)])
def test_automatic_z_follows_the_formula(clients: int, byzantine: int) -> None:
    honest = clients - byzantine
    supporters = math.floor(clients / 2 + 1) - byzantine
    z = max(0.0, norm.ppf((honest - supporters) / honest))
    assert largest_hidden_z(clients, byzantine) == pytest.approx(z, abs=1e-9)
    rows = random_rows(honest, 50)
    attack = build_attack("alie", z="auto")
    sent = attack(full_view(rows, torch.zeros(byzantine, 50)))
    fixed = build_attack("alie", z=largest_hidden_z(clients, byzantine))(full_view(rows, torch.zeros(byzantine, 50)))
    assert torch.equal(sent, fixed)
    assert attack.diagnostics["z"] == pytest.approx(z, abs=1e-9)


@pytest.mark.parametrize(("clients", "byzantine"), [(2, 1), (3, 2), (10, 9), (10, 6), (1, 0), (3, 0), (101, 0)])
def test_automatic_z_is_finite_and_never_negative(clients: int, byzantine: int) -> None:
    assert 0 <= largest_hidden_z(clients, byzantine) <= norm.ppf(1 - 1e-6) + 1e-6
