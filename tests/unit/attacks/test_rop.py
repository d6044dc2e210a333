"""ROP by its formula."""

import math

import numpy as np
import pytest
import torch

from fedsim.attacks import build_attack
from support.attack_views import COLUMNS, full_context, view_against
from support.references import random_rows


def literal_rop(
    mean: np.ndarray, last: np.ndarray, angle: float, z: float, weight: float, rho: float
) -> tuple[np.ndarray, np.ndarray]:
    """The row and u."""
    u = weight * last + (1 - weight) * mean
    ones = np.ones_like(u)
    o = ones - (ones @ u) / (u @ u) * u
    o /= np.linalg.norm(o)
    pi = o * np.sin(np.radians(angle)) + u / np.linalg.norm(u) * np.cos(np.radians(angle))
    return rho * last + (1 - rho) * mean + z * pi / np.linalg.norm(pi), u


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 180.0])
@pytest.mark.parametrize(("weight", "rho"), [(0.9, 1.0), (0.3, 0.4), (0.0, 0.0), (1.0, 0.0)])
@pytest.mark.parametrize("first_round", [False, True])
def test_rop_is_its_formula(angle: float, weight: float, rho: float, first_round: bool) -> None:
    honest, last = random_rows(5, COLUMNS, shift=1.0), random_rows(1, COLUMNS, seed=3)[0]
    context = full_context(7, last_step=None if first_round else last)
    attack = build_attack("rop", angle=angle, z=0.7, reference_weight=weight, relocation=rho)
    sent = attack(view_against(honest, context=context))
    mean = honest.double().numpy().mean(0)
    reference = mean if first_round else last.double().numpy()
    expected, u = literal_rop(mean, reference, angle, 0.7, weight, rho)
    np.testing.assert_allclose(sent.double().numpy(), np.stack([expected] * 2), rtol=1e-5, atol=1e-6)
    moved = sent[0].double().numpy() - (rho * reference + (1 - rho) * mean)
    assert np.linalg.norm(moved) == pytest.approx(0.7, rel=1e-5)
    assert moved @ u / (0.7 * np.linalg.norm(u)) == pytest.approx(math.cos(math.radians(angle)), abs=1e-5)


def test_rop_where_there_is_no_angle() -> None:
    one = build_attack("rop")(view_against(torch.tensor([[3.0], [5.0]])))
    assert one.flatten().tolist() == [4.5, 4.5]  # the ones are parallel to u: along u
    one = build_attack("rop")(view_against(torch.tensor([[-3.0], [-5.0]])))
    assert one.flatten().tolist() == [-4.5, -4.5]
    flat = build_attack("rop")(view_against(torch.full((3, 4), 0.1)))
    torch.testing.assert_close(flat, torch.full((2, 4), 0.1 + 0.25))
    nowhere = build_attack("rop")(view_against(torch.zeros(3, 4)))
    torch.testing.assert_close(nowhere, torch.full((2, 4), 0.25))  # u is zero: along the ones
