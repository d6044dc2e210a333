"""What holds for every schedule."""

import inspect
from typing import Any

import pytest

from fedsim.errors import ConfigError
from fedsim.training.schedules import schedules


@pytest.mark.parametrize("name", schedules.describe())
def test_no_schedule_knows_how_long_the_run_is_or_remembers_what_it_was_asked(name: str) -> None:
    schedule = schedules.build(name)
    assert list(inspect.signature(schedule.factor).parameters) == ["round_index"]
    assert not {"rounds", "total", "total_rounds"} & set(schedules.describe()[name].settings)
    forwards = [schedule.factor(round_index) for round_index in range(200)]
    assert [schedule.factor(round_index) for round_index in reversed(range(200))] == forwards[::-1]
    assert forwards[0] == 1.0 or name == "cosine"
    assert all(0 <= factor <= 1 for factor in forwards)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cosine", {"over": 0}),
        ("cosine", {"warmup_rounds": -1}),
        ("cosine", {"final": 1.5}),
        ("steps", {"after": [0]}),
        ("steps", {"by": 0.0}),
        ("constant", {"by": 0.5}),
    ],
)
def test_impossible_settings_of_schedules_are_errors(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"^{next(iter(settings))}"):
        schedules.build(name, **settings)
