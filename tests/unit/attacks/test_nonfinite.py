"""NaN and infinity in rows."""

import math

import pytest
import torch

from fedsim.attacks import build_attack
from fedsim.updates.matrix import BLOCK
from support.attack_views import ATTACKER, round_view
from support.references import random_rows


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_nonfinite_spoils_its_share_and_leaves_the_rest(share: float) -> None:
    columns = 2 * BLOCK
    own = random_rows(2, columns)
    sent = build_attack("nonfinite", share=share)(round_view(random_rows(2, columns), own))
    bad = ~sent.isfinite()
    assert torch.equal(sent[~bad], own[~bad])
    for row, where in zip(sent, bad, strict=True):
        slack = 5 * math.sqrt(columns * share * (1 - share))
        assert abs(int(where.sum()) - columns * share) <= slack
        kinds = [int(kind.sum()) for kind in (row.isnan(), row == math.inf, row == -math.inf)]
        assert sum(kinds) == int(where.sum())
        assert all(abs(kind - sum(kinds) / 3) <= 5 * math.sqrt(sum(kinds) * 2 / 9) for kind in kinds)
    if share < 1:
        assert not torch.equal(bad[0], bad[1])


def test_nonfinite_spoils_every_row_somewhere() -> None:
    own = random_rows(40, 20)
    own_ids = range(ATTACKER, ATTACKER + 40)
    sent = build_attack("nonfinite", share=0.01)(round_view(random_rows(2, 20), own, own_ids=own_ids))
    assert bool((~sent.isfinite()).any(1).all())
    assert float((~sent.isfinite()).double().mean()) < 0.08
