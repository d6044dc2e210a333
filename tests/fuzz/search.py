"""Hypothesis as a source of inputs: every input is judged and counted, none stops the search."""

from collections.abc import Callable
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

Input = TypeVar("Input")


def search(strategy: st.SearchStrategy[Input], count: int, judge: Callable[[Input], None]) -> None:
    """Judge so many inputs, the same ones in every run."""

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def each(one: Input) -> None:
        judge(one)

    each()
