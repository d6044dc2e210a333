"""Honest against Byzantine clients, by numpy, and as a picture."""

from collections.abc import Mapping

import numpy as np

from fedsim.records.side_curves import COLOURS, side_curves
from fedsim.records.sides import BYZANTINE, HONEST, Sides, Spread, curves_of, sides_of


def test_each_side_has_mean_least_and_most_of_its_finite_values() -> None:
    values = np.random.default_rng(0).normal(size=20)
    values[[3, 17]] = np.nan, np.inf
    attackers = set(range(12, 20))
    sides = sides_of({"norm": dict(enumerate(values.tolist()))}, attackers)["norm"]
    for side, held in ((HONEST, values[:12]), (BYZANTINE, values[12:])):
        finite = held[np.isfinite(held)]
        np.testing.assert_allclose(sides[side], (finite.mean(), finite.min(), finite.max()))


def test_a_side_without_a_finite_value_is_missing() -> None:
    assert sides_of({"norm": {0: 1.0, 1: float("nan")}}, attackers={1}) == {"norm": {HONEST: Spread(1.0, 1.0, 1.0)}}
    assert sides_of({"norm": {0: 1.0}, "trust": {}}, attackers=()) == {"norm": {HONEST: (1, 1, 1)}, "trust": {}}


def drawn(by_round: Mapping[int, Sides]) -> np.ndarray:
    return side_curves("norm", curves_of(by_round)["norm"])


def rows_of(picture: np.ndarray, side: str) -> np.ndarray:
    """Rows of the picture, below its title, that have pixels in the colour of a side."""
    return np.flatnonzero((picture[40:] == COLOURS[side]).all(axis=2).any(axis=1))


def test_larger_values_are_higher_and_colours_are_those_of_the_sides() -> None:
    rounds = range(1, 11)
    flat = {number: sides_of({"norm": {0: 1.0, 1: 2.0, 2: 9.0, 3: 8.0}}, attackers={2, 3}) for number in rounds}
    picture = drawn(flat)
    assert rows_of(picture, BYZANTINE).max() < rows_of(picture, HONEST).min()
    swapped = {number: sides_of({"norm": {0: 1.0, 1: 2.0, 2: 9.0, 3: 8.0}}, attackers={0, 1}) for number in rounds}
    assert rows_of(drawn(swapped), HONEST).tolist() == rows_of(picture, BYZANTINE).tolist()


def test_a_single_round_gaps_equal_values_and_huge_ones_are_drawn() -> None:
    huge = 1.7e308
    cases = [
        {3: sides_of({"norm": {0: 1.0}}, ())},
        {1: {}, 2: sides_of({"norm": {0: 0.0, 1: 1.0}}, {1}), 4: sides_of({"norm": {1: 1.0}}, {1})},
        {1: sides_of({"norm": {0: huge, 1: huge, 2: -huge}}, {2}), 2: sides_of({"norm": {0: 1.0}}, {2})},
    ]
    for by_round in cases:
        assert len(rows_of(drawn(by_round), HONEST))
