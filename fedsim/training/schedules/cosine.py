"""Half a cosine, after a warm-up."""

from math import cos, pi

from pydantic import Field

from fedsim.registry import Reference
from fedsim.settings import Schema
from fedsim.training.schedules.base import Schedule, schedules


@schedules.register(
    "cosine",
    Reference(
        authors="Loshchilov and Hutter",
        title="SGDR: Stochastic Gradient Descent with Warm Restarts",
        year=2017,
        venue="ICLR",
        url="https://arxiv.org/abs/1608.03983",
    ),
)
class Cosine(Schedule):
    """Up in a line over the warm-up, then down along half a cosine, and flat at the end.

    This is one period of the original, which restarts at the full rate and has no warm-up.
    """

    class Settings(Schema):
        over: int = Field(100, ge=1, description="rounds from the first to the lowest, warm-up included")
        warmup_rounds: int = Field(0, ge=0, description="rounds of the way up")
        final: float = Field(0.0, ge=0, le=1, description="factor at the end")

    settings: Settings

    def factor(self, round_index: int) -> float:
        settings = self.settings
        if round_index < settings.warmup_rounds:
            return (round_index + 1) / (settings.warmup_rounds + 1)
        left = max(1, settings.over - settings.warmup_rounds)
        done = min(1.0, (round_index - settings.warmup_rounds) / left)
        return settings.final + (1 - settings.final) * (1 + cos(pi * done)) / 2
