"""The factors of a schedule, round by round."""

from typing import Any

from fedsim.training.schedules import schedules


def factors(name: str, count: int, **settings: Any) -> list[float]:
    return [schedules.build(name, **settings).factor(round_index) for round_index in range(count)]
