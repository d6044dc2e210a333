"""No schedule."""

from fedsim.training.schedules.base import Schedule, schedules


@schedules.register("constant")
class Constant(Schedule):
    """The learning rate as it is."""

    def factor(self, round_index: int) -> float:
        return 1.0
