"""The constant schedule."""

from support.schedule_factors import factors


def test_the_constant_schedule_is_one() -> None:
    assert factors("constant", 5) == [1.0] * 5
