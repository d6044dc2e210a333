"""STAT-OPT by its definition."""

import pytest
import torch

from fedsim.aggregators import build_aggregator
from fedsim.attacks import build_attack
from support.attack_views import COLUMNS, defences, full_context, real_deviation, view_against
from support.references import random_rows


def test_every_coordinate_is_the_factor_against_the_sign_of_the_mean() -> None:
    honest = random_rows(6, COLUMNS)
    honest[:, 7] = 0
    attack = build_attack("statopt")
    sent = attack(view_against(honest, 2, build_aggregator("cwmed")))
    expected = -attack.diagnostics["gamma"] * honest.double().mean(0).sign()
    torch.testing.assert_close(sent.double(), expected.expand(2, -1))
    assert not sent[:, 7].any()


@pytest.mark.parametrize("defence", defences())
def test_the_factor_is_the_best_of_its_tries_against_the_whole_defence(defence: str) -> None:
    """It tries 0, then 10, and 30 if 10 was better: it reaches at least what these do, and says what it reached."""
    honest, subject, context = random_rows(8, COLUMNS, shift=1.0), defences()[defence], full_context(11)
    attack = build_attack("statopt")
    sent = attack(view_against(honest, 3, subject, context=context))
    reached = real_deviation(subject, honest, sent, context)
    assert attack.diagnostics["deviation"] == pytest.approx(reached, rel=1e-4)
    against = -honest.mean(0).sign()
    at = {g: real_deviation(subject, honest, (g * against).expand(3, -1), context) for g in (0.0, 10.0, 30.0)}
    tried = [at[0.0], at[10.0], at[30.0]] if at[10.0] > at[0.0] * (1 + 1e-4) else [at[0.0], at[10.0]]
    assert reached >= max(tried) * (1 - 1e-4)


def test_a_mean_of_zero_gives_zero_rows() -> None:
    honest = torch.tensor([[1.0, -2.0], [-1.0, 2.0]])
    assert not build_attack("statopt")(view_against(honest, 1, build_aggregator("fedavg"))).any()
