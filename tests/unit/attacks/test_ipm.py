"""IPM by its formula."""

import byzfl
import pytest
import torch

from fedsim.aggregators import build_aggregator
from fedsim.attacks import build_attack
from support.attack_views import full_view
from support.references import random_rows


@pytest.mark.parametrize("epsilon", [0.1, 1.3, 10.0])
def test_ipm_points_against_the_honest_mean(epsilon: float) -> None:
    rows = random_rows(5, 200)
    sent = build_attack("ipm", epsilon=epsilon)(full_view(rows, torch.zeros(2, 200)))
    mean = rows.double().mean(0)
    assert float(sent[0].double() @ mean) < 0
    torch.testing.assert_close(sent.double(), (-epsilon * mean).expand(2, -1), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(sent[0], byzfl.InnerProductManipulation(epsilon)(rows), rtol=1e-5, atol=1e-6)


def test_ipm_turns_the_mean_of_all_rows_around_only_if_it_is_strong_enough() -> None:
    honest = random_rows(6, 200, shift=2.0)
    mean = honest.mean(0)
    for epsilon, turned in ((1.9, False), (2.1, True)):  # 6 honest rows against 3
        rows = torch.cat([honest, build_attack("ipm", epsilon=epsilon)(full_view(honest, torch.zeros(3, 200)))])
        assert (float(build_aggregator("fedavg")(rows) @ mean) < 0) == turned
