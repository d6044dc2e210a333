"""Attacks tailored to the server's aggregator, against what their untailored parents reach."""

import copy
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import Aggregator, build_aggregator
from fedsim.attacks import build_attack
from fedsim.errors import ConfigError
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from support.attack_views import COLUMNS, TAILORED, defences, full_context, real_deviation, view_against
from support.references import random_rows

# Tailored to the defence ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", TAILORED)
@pytest.mark.parametrize("defence", defences())
def test_tailoring_does_at_least_what_the_parent_does(name: str, defence: str) -> None:
    for seed in (0, 1):
        subject = copy.deepcopy(defences()[defence])
        for round_index in range(2):
            subject(random_rows(11, COLUMNS, seed=90 + round_index), full_context(11, round_index=round_index))
        honest = random_rows(8, COLUMNS, seed=seed, shift=1.0)
        attack, context = build_attack(name), full_context(11, round_index=2)
        tailored = attack(view_against(honest, 3, subject, context=context))
        untailored = build_attack(TAILORED[name])(view_against(honest, 3))
        reached = real_deviation(subject, honest, tailored, context)
        assert reached >= real_deviation(subject, honest, untailored, context) * (1 - 1e-5)
        assert attack.diagnostics["deviation"] == pytest.approx(reached, rel=1e-4)


def test_the_parameter_found_is_the_one_sent() -> None:
    honest, defence = random_rows(8, COLUMNS, shift=1.0), build_aggregator("rfa")
    wide = honest.double()
    for name, expected in {
        "agr_tailored": lambda found: wide.mean(0) * (1 - found["gamma"] / wide.mean(0).norm()),
        "opt_alie": lambda found: wide.mean(0) - found["z"] * wide.std(0),
        "opt_ipm": lambda found: -found["epsilon"] * wide.mean(0),
    }.items():
        attack = build_attack(name)
        sent = attack(view_against(honest, 3, defence))
        torch.testing.assert_close(sent[0].double(), expected(attack.diagnostics), rtol=1e-5, atol=1e-4)
        assert "deviation" in attack.diagnostics


def test_agr_tailored_finds_the_best_multiple_against_a_linear_defence_and_a_clipped_one() -> None:
    """Against the mean the farther the better: 19 probes double 10 up to 10 * (2^18 - 1)."""
    honest = random_rows(6, COLUMNS)
    attack = build_attack("agr_tailored")
    attack(view_against(honest, 2, build_aggregator("fedavg")))
    assert attack.diagnostics["gamma"] == 10.0 * (2**18 - 1)
    assert attack.diagnostics["deviation"] == pytest.approx(attack.diagnostics["gamma"] * 2 / 8, rel=1e-6)


class Spy(Aggregator):
    """The mean, counting how often it is asked. Copies count together."""

    asked: ClassVar[list[Tensor]] = []

    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        self.asked.append(updates.row(updates.num_rows - 1).clone())
        return updates.mean()


class RotatingSpy(Spy):
    commutes_with_rotations = True


@pytest.mark.parametrize("spy", [Spy, RotatingSpy])
@pytest.mark.parametrize("name", TAILORED)
def test_there_are_twenty_probes_and_one_is_the_parents(name: str, spy: type[Spy]) -> None:
    honest = random_rows(5, COLUMNS)
    Spy.asked.clear()
    build_attack(name)(view_against(honest, 2, spy()))
    assert len(Spy.asked) == 20
    if spy is Spy:
        parent = build_attack(TAILORED[name])(view_against(honest))[0]
        assert any(torch.allclose(row, parent, rtol=1e-5, atol=1e-5) for row in Spy.asked)
        start = torch.zeros(COLUMNS) if name == "opt_ipm" else honest.mean(0)
        torch.testing.assert_close(Spy.asked[0], start)


# The worst of several ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*TAILORED, "worst_of"])
def test_attacks_that_probe_say_so_where_there_is_nothing_to_probe(name: str) -> None:
    with pytest.raises(ConfigError, match="probes the server's aggregator"):
        build_attack(name)(view_against(random_rows(3, COLUMNS)))


def test_impossible_settings_are_named() -> None:
    for name, key, value in [
        ("min_max", "direction", "random"),
        ("min_sum", "direction", 1),
        ("agr_tailored", "direction", "up"),
        ("rop", "angle", 181.0),
        ("rop", "reference_weight", 1.1),
        ("rop", "relocation", -0.1),
        ("fang", "target", "median"),
    ]:
        with pytest.raises(ConfigError) as caught:
            build_attack(name, **{key: value})
        assert caught.value.key == key
