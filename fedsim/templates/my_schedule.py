"""A schedule: a factor of the learning rate for each round.

`fedsim --plugin my_schedule.py clients.schedule.name=my_schedule clients.schedule.power=0.5`
"""

from pydantic import Field

from fedsim.settings import Schema
from fedsim.training.schedules import Schedule, schedules


@schedules.register("my_schedule")
class MySchedule(Schedule):
    """1 / (t + 1)^power in round t = 0, 1, 2, ..."""

    class Settings(Schema):
        power: float = Field(0.5, gt=0, description="how fast it falls")

    settings: Settings

    def factor(self, round_index: int) -> float:
        return float((round_index + 1) ** -self.settings.power)
