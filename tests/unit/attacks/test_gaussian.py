"""Gaussian noise by its moments."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsim.attacks import build_attack
from fedsim.updates.matrix import BLOCK
from support.attack_views import round_view
from support.column_ranks import AttackOnRanks
from support.references import random_rows


@pytest.mark.parametrize("std", [200.0, 0.5])
def test_gaussian_noise_has_its_mean_and_deviation_and_is_independent(std: float) -> None:
    columns = 3 * BLOCK
    rows = (
        build_attack("gaussian", std=std)(round_view(random_rows(2, columns), torch.zeros(2, columns))).double() / std
    )
    slack = 5 / math.sqrt(columns)
    assert bool((rows.mean(1).abs() < slack).all())
    assert bool(((rows.std(1) - 1).abs() < slack).all())
    assert float(rows.pow(4).mean()) == pytest.approx(3, abs=0.2)
    assert abs(float((rows[0] * rows[1]).mean())) < slack
    blocks = rows[0].view(3, BLOCK)
    assert abs(float((blocks[0] * blocks[1]).mean())) < 5 / math.sqrt(BLOCK)


@pytest.mark.parametrize(("name", "settings"), [("gaussian", {}), ("nonfinite", {"share": 0.2})])
def test_what_a_client_draws_depends_on_the_round_and_the_client_alone(name: str, settings: dict[str, Any]) -> None:
    columns = 2 * BLOCK + 77
    own = torch.zeros(3, columns)

    def rows(ids: Sequence[int], seed: int = 5, ranks: int = 1) -> Tensor:
        view = round_view(torch.empty(0, columns), own[: len(ids)], own_ids=ids, seed=seed)
        return AttackOnRanks(build_attack(name, **settings), ranks)(view).nan_to_num(7.0)

    alone = rows([4])[0]
    assert torch.equal(rows([4], ranks=3)[0], alone)
    assert torch.equal(rows([2, 9, 4])[2], alone)
    assert not torch.equal(rows([9])[0], alone)
    assert not torch.equal(rows([4], seed=6)[0], alone)
