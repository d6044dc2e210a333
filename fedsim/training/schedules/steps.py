"""A staircase."""

from pydantic import Field, PositiveInt

from fedsim.settings import Schema
from fedsim.training.schedules.base import Schedule, schedules


@schedules.register("steps")
class Steps(Schedule):
    """Multiplied by a factor after each of the given numbers of rounds."""

    class Settings(Schema):
        after: list[PositiveInt] = Field([50], description="numbers of rounds after which it changes")
        by: float = Field(0.1, gt=0, description="the factor of each change")

    settings: Settings

    def factor(self, round_index: int) -> float:
        return self.settings.by ** sum(round_index >= rounds for rounds in self.settings.after)
