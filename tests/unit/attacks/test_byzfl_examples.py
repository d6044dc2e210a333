"""ByzFL's published examples of attacks, run on ours: read out of the installed package, none of its text is here."""

from math import isinf, isnan

import numpy as np
import pytest

from support import byzfl_adapter
from support.byzfl_examples import docstrings, run_examples

PUBLISHED = docstrings("attacks/attacks.py")
WITHOUT_EXAMPLE = {"LabelFlipping"}
DIFFERENT = {
    "Gaussian": "noise is drawn by the generator of the round, not by numpy's or torch's",
    "Inf": "`nonfinite` draws NaN, +Inf or -Inf for each coordinate, not +Inf for all",
    "Optimal_ALittleIsEnough": "the factor is searched below the mean, with a first step of 1 instead of 10",
    "Optimal_InnerProductManipulation": "the factor is searched with a first step of 1 instead of 10, on both sides",
}
SAME = sorted(PUBLISHED.keys() - DIFFERENT.keys() - WITHOUT_EXAMPLE)


@pytest.mark.parametrize("name", SAME)
def test_an_example_gives_what_byzfl_prints(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for example, value, _ in run_examples(PUBLISHED[name], monkeypatch):
        assert example.prints(value), (value, example.printed)


def test_noise_has_the_printed_shape_and_other_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its distribution is compared in test_byzfl.py."""
    for example, value, _ in run_examples(PUBLISHED["Gaussian"], monkeypatch):
        assert value.shape == example.printed.shape
        assert np.isfinite(np.asarray(value)).all()
        assert not example.prints(value)


def test_where_byzfl_prints_infinity_every_value_of_ours_is_nan_or_infinite(monkeypatch: pytest.MonkeyPatch) -> None:
    for example, value, _ in run_examples(PUBLISHED["Inf"], monkeypatch):
        assert value.shape == example.printed.shape
        assert all(isinf(number) and number > 0 for number in example.printed)
        assert all(isinf(number) or isnan(number) for number in value.tolist())


@pytest.mark.parametrize("name", ["Optimal_ALittleIsEnough", "Optimal_InnerProductManipulation"])
def test_a_searched_factor_is_another_on_the_same_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed and what is found are both the mean plus a multiple of one vector."""
    for example, value, names in run_examples(PUBLISHED[name], monkeypatch):
        mean = np.asarray(byzfl_adapter.Average()(names["x"]))
        direction = np.ones(3) if name.endswith("Enough") else mean
        for row in (np.asarray(value), example.printed):
            factors = (row - mean) / direction
            np.testing.assert_allclose(factors, factors[0], rtol=1e-5)
        assert not example.prints(value)


def test_every_class_of_byzfl_is_compared() -> None:
    assert all(hasattr(byzfl_adapter, name) for name in PUBLISHED)
    assert {name for name, text in PUBLISHED.items() if ">>>" not in text} == WITHOUT_EXAMPLE
