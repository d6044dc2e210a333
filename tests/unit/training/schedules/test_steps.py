"""The schedule of steps."""

import pytest

from support.schedule_factors import factors


def test_the_steps_schedule_multiplies_after_each_number_of_rounds() -> None:
    assert factors("steps", 7, after=[2, 5], by=0.1) == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])
    assert factors("steps", 7, after=[5, 2], by=0.1) == pytest.approx(factors("steps", 7, after=[2, 5], by=0.1))
    assert factors("steps", 3, after=[1, 1], by=3.0) == pytest.approx([1, 9, 9])
    assert factors("steps", 3, after=[], by=0.5) == [1.0] * 3
