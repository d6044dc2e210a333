"""The cosine schedule by its formula."""

from math import cos, pi

import pytest

from support.schedule_factors import factors


@pytest.mark.parametrize(("over", "final"), [(1, 0.0), (2, 0.1), (10, 0.0), (10, 0.25), (7, 1.0)])
def test_the_cosine_schedule_by_its_formula_and_flat_after_its_end(over: int, final: float) -> None:
    by_hand = [final + (1 - final) * 0.5 * (1 + cos(pi * round_index / over)) for round_index in range(over)] + [
        final
    ] * 10
    assert factors("cosine", over + 10, over=over, final=final) == pytest.approx(by_hand, abs=1e-12)


def test_the_cosine_schedule_warms_up_in_a_line_and_falls_in_what_is_left() -> None:
    given = factors("cosine", 20, over=10, warmup_rounds=4, final=0.2)
    assert given[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    by_hand = [0.2 + 0.8 * 0.5 * (1 + cos(pi * (round_index - 4) / 6)) for round_index in range(4, 10)]
    assert given[4:10] == pytest.approx(by_hand)
    assert given[10:] == pytest.approx([0.2] * 10)


@pytest.mark.parametrize("over", [1, 3, 4])
def test_a_warm_up_that_is_as_long_as_the_schedule_ends_in_its_last_factor(over: int) -> None:
    given = factors("cosine", 9, over=over, warmup_rounds=4, final=0.3)
    assert given == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 0.3, 0.3, 0.3, 0.3])
