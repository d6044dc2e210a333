"""Min-max and min-sum by their constraints."""

import math

import pytest
import torch
from torch import Tensor

from fedsim.attacks import build_attack
from fedsim.updates.matrix import BLOCK
from support.attack_views import view_against
from support.column_ranks import AttackOnRanks
from support.references import direct_squared_distances, random_rows

DIRECTIONS = ["unit", "sign", "std"]


def literal_direction(rows: Tensor, direction: str) -> tuple[Tensor, Tensor]:
    """mu and p, float64."""
    wide = rows.double()
    mean = wide.mean(0)
    deviation = wide.std(0) if len(rows) > 1 else torch.zeros_like(mean)
    return mean, {"unit": -mean / mean.norm(), "sign": -mean.sign(), "std": -deviation}[direction]


def is_hidden(name: str, x: Tensor, rows: Tensor) -> bool:
    """The constraint itself."""
    to_rows, between = (x - rows.double()).square().sum(1), direct_squared_distances(rows)
    if name == "min_max":
        return bool(to_rows.max() <= between.max())
    return bool(to_rows.sum() <= between.sum(1).max())


def bisected_gamma(name: str, rows: Tensor, direction: str) -> float:
    mean, p = literal_direction(rows, direction)
    low, high = 0.0, 1.0
    while is_hidden(name, mean + high * p, rows):
        low, high = high, 2 * high
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if is_hidden(name, mean + middle * p, rows) else (low, middle)
    return low


@pytest.mark.parametrize("name", ["min_max", "min_sum"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("honest", "columns"), [(2, 1), (2, 40), (3, 5), (7, 300), (12, 3)])
def test_gamma_is_the_largest_that_the_constraint_allows(
    name: str, direction: str, honest: int, columns: int
) -> None:
    for seed, shift in ((0, 0.3), (1, 5.0)):
        rows = random_rows(honest, columns, seed=seed, shift=shift)
        attack = build_attack(name, direction=direction)
        sent = attack(view_against(rows))
        gamma, (mean, p) = attack.diagnostics["gamma"], literal_direction(rows, direction)
        assert gamma == pytest.approx(bisected_gamma(name, rows, direction), rel=1e-9)
        assert is_hidden(name, mean + gamma * (1 - 1e-9) * p, rows)
        assert not is_hidden(name, mean + gamma * (1 + 1e-6) * p, rows)
        torch.testing.assert_close(sent.double(), (mean + gamma * p).expand(2, -1), rtol=1e-5, atol=1e-5)


def test_min_max_and_min_sum_by_hand() -> None:
    """mu = (2, 0), so a = 4, 1, 5; squared distances 5, 17 and 8; p = (-1, 0), so b = -2, 0, 2."""
    rows = torch.tensor([[0.0, 0.0], [2.0, -1.0], [4.0, 1.0]])
    attack = build_attack("min_max")
    sent = attack(view_against(rows))
    gamma = min(2 + math.sqrt(4 + 17 - 4), math.sqrt(17 - 1), -2 + math.sqrt(4 + 17 - 5))
    assert attack.diagnostics == pytest.approx({"gamma": gamma})
    assert gamma == 2.0
    torch.testing.assert_close(sent, torch.tensor([[0.0, 0.0]]).expand(2, -1), rtol=0, atol=1e-6)
    # sums: 22, 13, 25; sum a = 10, sum b = 0: gamma = sqrt((25 - 10) / 3)
    attack = build_attack("min_sum")
    sent = attack(view_against(rows))
    assert attack.diagnostics == pytest.approx({"gamma": math.sqrt(5)})
    torch.testing.assert_close(sent[0], torch.tensor([2 - math.sqrt(5), 0.0]))


@pytest.mark.parametrize("name", ["min_max", "min_sum"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_perturbations_agree_whole_and_on_three_ranks(name: str, direction: str) -> None:
    rows = random_rows(5, 3 * BLOCK + 77)
    whole = build_attack(name, direction=direction)
    distributed = AttackOnRanks(whole, 3)
    assert torch.equal(whole(view_against(rows)), distributed(view_against(rows)))
    assert whole.diagnostics == distributed.diagnostics
    assert whole.diagnostics["gamma"] == pytest.approx(bisected_gamma(name, rows, direction), rel=1e-9)


@pytest.mark.parametrize("name", ["min_max", "min_sum"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_rows_that_differ_in_the_seventh_digit_keep_their_distances(name: str, direction: str) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = 1000 + 1e-3 * torch.randn(5, 200, generator=generator)
    attack = build_attack(name, direction=direction)
    attack(view_against(rows))
    assert attack.diagnostics["gamma"] == pytest.approx(bisected_gamma(name, rows, direction), rel=1e-6)


@pytest.mark.parametrize("name", ["min_max", "min_sum"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_room_or_direction_the_mean_is_sent(name: str, direction: str, dtype: torch.dtype) -> None:
    row = random_rows(1, 50).to(dtype)
    opposite = torch.cat([row, -row])
    for rows in (row, row.expand(4, -1), torch.zeros(3, 50, dtype=dtype), opposite):
        attack = build_attack(name, direction=direction)
        sent = attack(view_against(rows))
        if rows is not opposite or direction != "std":  # a mean of zero has no direction, but a deviation
            assert attack.diagnostics["gamma"] == pytest.approx(0, abs=1e-7)
            torch.testing.assert_close(sent, rows.mean(0).expand(2, -1), rtol=1e-6, atol=1e-7)
