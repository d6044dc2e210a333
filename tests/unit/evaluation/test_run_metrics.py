"""The metrics of a run: names, randomness, and what is said of those that fail."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import Field

from fedsim.errors import ConfigError
from fedsim.evaluation.metrics import Metric, Predictions, RoundRows, metrics
from fedsim.evaluation.run_metrics import MetricError, RunMetrics
from fedsim.settings import Schema
from support.predictions import random_predictions

GIVEN = random_predictions(0)


class Returns(Metric):
    """What a function returns."""

    name = "returns"

    def __init__(self, function: Callable[[], object]) -> None:
        super().__init__()
        self.function = function

    def of_predictions(self, predictions: Predictions) -> object:  # type: ignore[override]
        return self.function()


def values(function: Callable[[], object], round_index: int = 0, seed: int = 0) -> dict[str, float | None]:
    return dict(RunMetrics([Returns(function)], seed).of_predictions(GIVEN, round_index))


@pytest.mark.parametrize(
    ("returned", "recorded"),
    [
        (0.5, {"returns": 0.5}),
        (3, {"returns": 3.0}),
        (np.float32(0.25), {"returns": 0.25}),
        (np.int64(2), {"returns": 2.0}),
        (torch.tensor(0.5), {"returns": 0.5}),
        (torch.tensor([True]), {"returns": 1.0}),
        (float("nan"), {"returns": None}),
        (10**400, {"returns": None}),
        (torch.tensor(float("inf")), {"returns": None}),
        ({"cat": 1, "dog": float("nan")}, {"returns.cat": 1.0, "returns.dog": None}),
        ({}, {}),
    ],
)
def test_numbers_are_recorded_and_what_is_none_as_null(returned: object, recorded: dict[str, float | None]) -> None:
    assert values(lambda: returned) == recorded


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (None, "returned None; it must return a number, or a dict of numbers by name"),
        ([0.5], r"returned \[0.5\]; it must return a number"),
        ("high", "returned 'high'; it must"),
        (torch.zeros(2), r"returned tensor\(\[0., 0.\]\); it must"),
        ({"cat": "high"}, "returned 'high' under 'cat'; it must"),
        ({3: 0.5}, "returned 0.5 under 3; it must"),
    ],
)
def test_what_is_no_number_is_an_error_that_names_metric_and_file(returned: object, says: str) -> None:
    with pytest.raises(MetricError, match=rf"^metric 'returns' \(test_run_metrics.py\) {says}"):
        values(lambda: returned)


def test_what_a_metric_raises_names_it_and_the_line() -> None:
    def fails() -> float:
        return 1 / 0

    line = fails.__code__.co_firstlineno + 1
    said = rf"^metric 'returns' \(test_run_metrics.py, line {line}\) raised ZeroDivisionError: division by zero$"
    with pytest.raises(MetricError, match=said):
        values(fails)


def test_global_generators_are_seeded_by_the_round_and_restored() -> None:
    def draws() -> dict[str, float]:
        return {"torch": float(torch.rand(())), "python": random.random(), "numpy": np.random.rand()}

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = values(draws)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert values(draws) == first
    for other in (values(draws, round_index=1), values(draws, seed=1)):
        assert all(other[name] != first[name] for name in first)


def test_a_second_metric_of_a_name_has_a_number_behind_it() -> None:
    run = RunMetrics([metrics.build(name, **settings) for name, settings in (("top_k", {"k": 2}), ("brier", {}))])
    assert run.labels == ["top_k", "brier"]
    run = RunMetrics([metrics.build("top_k", k=k) for k in (1, 2, 3)])
    assert run.labels == ["top_k", "top_k_2", "top_k_3"]
    found = run.of_predictions(GIVEN, 0)
    assert found["top_k"] < found["top_k_2"] < found["top_k_3"]


def test_a_metric_implements_one_of_the_two() -> None:
    class Idle(Metric):
        """Forgotten."""

    class Both(Metric):
        """Too much."""

        def of_predictions(self, predictions: Predictions) -> float:
            return 0.0

        def of_rows(self, rows: RoundRows) -> float:
            return 0.0

    with pytest.raises(ConfigError, match="metric 'Idle' implements neither of_predictions nor of_rows"):
        Idle()
    with pytest.raises(ConfigError, match="metric 'Both' implements both of_predictions and of_rows"):
        Both()


def test_a_mistake_in_the_settings_has_its_place_in_the_list() -> None:
    class Narrow(Metric):
        """For few classes."""

        class Settings(Schema):
            most: int = Field(3, description="classes")

        def check(self, num_classes: int) -> None:
            raise ConfigError("most", f"there are {num_classes} classes")

        def of_predictions(self, predictions: Predictions) -> float:
            return 0.0

    with pytest.raises(ConfigError, match=r"^evaluation.metrics.1.most: there are 7 classes$"):
        RunMetrics([metrics.build("brier"), Narrow()]).check(7)
