"""The opposite of the own rows."""

import byzfl
import torch

from fedsim.attacks import build_attack
from support.attack_views import round_view
from support.references import random_rows


def test_sign_flip_sends_the_opposite_of_the_own_rows_and_equals_byzfl_on_one_row() -> None:
    own = random_rows(2, 50)
    sent = build_attack("sign_flip")(round_view(random_rows(3, 50), own))
    assert torch.equal(sent, -own)
    for row, mine in zip(sent, own, strict=True):
        torch.testing.assert_close(row, byzfl.SignFlipping()(mine[None]))
