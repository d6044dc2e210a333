"""Statistics of scores, against scipy's, published tables and brute force."""

from math import inf, isnan, sqrt

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fedsim.report.comparisons import bootstrap_interval, compare, comparisons_with, half_width, holm, ranks

RNG = np.random.default_rng(0)


def by_seed(values: object) -> dict[str, float]:
    return {str(seed): float(value) for seed, value in enumerate(np.asarray(values))}


def test_the_paired_test_is_that_of_scipy() -> None:
    first, second = RNG.normal(0.8, 0.02, 6), RNG.normal(0.78, 0.02, 6)
    found, expected = compare("a", "b", by_seed(first), by_seed(second)), stats.ttest_rel(first, second)
    low, high = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.difference - found.half_width, found.difference + found.half_width) == pytest.approx((low, high))
    assert found.differs == (expected.pvalue < 0.05)


def test_pairing_finds_what_two_means_do_not() -> None:
    """Seeds differ by much more than the methods."""
    of_seed = np.array([0.2, 0.5, 0.8])
    found = compare("a", "b", by_seed(of_seed + np.array([0.011, 0.010, 0.009])), by_seed(of_seed))
    assert found.differs
    assert stats.ttest_ind(of_seed + 0.01, of_seed).pvalue > 0.9


def test_only_seeds_of_both_count() -> None:
    found = compare("a", "b", {"0": 1.0, "1": 0.5, "2": float("nan")}, {"1": 0.25, "2": 0.1, "3": 9.0})
    assert (found.repeats, found.difference, found.differs) == (1, 0.25, False)
    assert isnan(found.p)
    assert "cannot be told apart on 1 seed: one seed has no noise" in str(found)


def test_equal_scores_do_not_differ() -> None:
    found = compare("a", "b", by_seed([0.1, 0.2, 0.3]), by_seed([0.1, 0.2, 0.3]))
    assert (found.difference, found.p, found.differs) == (0.0, 1.0, False)


def test_words_say_who_is_better_and_that_seeds_are_few() -> None:
    few = str(compare("a", "b", by_seed([0.5, 0.52, 0.51]), by_seed([0.9, 0.92, 0.91])))
    assert few.startswith("a scores 0.400 less than b on 3 seeds")
    assert few.endswith("few seeds)")
    many = str(compare("a", "b", by_seed(RNG.normal(0, 1, 9)), by_seed(RNG.normal(0, 1, 9))))
    assert "few" not in many


def test_students_interval() -> None:
    values = RNG.normal(0, 1, 7)
    low, high = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    assert (values.mean() - half_width(list(values)), values.mean() + half_width(list(values))) == pytest.approx(
        (low, high)
    )
    assert half_width([1.0]) == inf


def test_the_bootstrap_agrees_with_scipys() -> None:
    values = list(RNG.normal(0, 1, 30))
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=10_000).confidence_interval
    assert bootstrap_interval(values) == pytest.approx((theirs.low, theirs.high), abs=0.03)
    assert bootstrap_interval(values) == bootstrap_interval(values)


@pytest.mark.parametrize(("methods", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (8, 3.031), (10, 3.164)])
def test_critical_differences_are_those_of_demsars_table(methods: int, q: float) -> None:
    """Table 5 (a) of Demsar 2006, q at 5 %."""
    settings = 12
    found = ranks(pd.DataFrame(RNG.normal(size=(settings, methods))), lower_is_better=False)
    assert found.critical_difference == pytest.approx(q * sqrt(methods * (methods + 1) / (6 * settings)), rel=1e-3)


def test_average_ranks_by_brute_force() -> None:
    table = pd.DataFrame(RNG.integers(0, 4, size=(9, 4)) / 4, columns=list("abcd"))  # with ties
    found = ranks(table, lower_is_better=True)
    for method in table:
        better = (table.lt(table[method], axis=0)).sum(axis=1)
        equal = (table.eq(table[method], axis=0)).sum(axis=1)
        assert found.average[str(method)] == pytest.approx((better + (equal + 1) / 2).mean())
    assert sum(found.average.values()) == pytest.approx(4 * 5 / 2)


def test_groups_are_the_largest_that_cannot_be_told_apart() -> None:
    table = pd.DataFrame({"a": [4.0] * 30, "b": [3.0] * 30, "c": [2.0] * 30, "d": [2.0] * 30})
    found = ranks(table, lower_is_better=False)
    assert found.critical_difference < 1
    assert found.groups() == [["c", "d"]]


@pytest.mark.parametrize("table", [pd.DataFrame({"a": [1.0, 2.0]}), pd.DataFrame({"a": [1.0], "b": [2.0]})])
def test_too_little_has_no_ranks(table: pd.DataFrame) -> None:
    assert ranks(table, lower_is_better=False) is None


def test_methods_that_are_always_equal_have_ranks_but_no_test() -> None:
    found = ranks(pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, 2.0], "c": [1.0, 2.0]}), lower_is_better=False)
    assert found.average == {"a": 2.0, "b": 2.0, "c": 2.0}
    assert isnan(found.p)


def test_friedmans_test_is_that_of_scipy_a_divergence_being_the_worst() -> None:
    table = pd.DataFrame(RNG.random((6, 3)), columns=list("abc"))
    diverged = table.assign(a=-np.inf)
    assert ranks(table, lower_is_better=False).p == pytest.approx(
        stats.friedmanchisquare(*table.T.to_numpy()[:]).pvalue
    )
    assert ranks(diverged, lower_is_better=False).average["a"] == 3.0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.02, 0.03, 0.9]) == pytest.approx([0.04, 0.06, 0.06, 0.9])
    adjusted = holm([0.5, float("nan"), 0.4])
    assert isnan(adjusted[1])
    assert (adjusted[0], adjusted[2]) == (0.8, 0.8)


def test_the_best_is_compared_with_each_other() -> None:
    scores = {"a": by_seed([0.1, 0.2]), "b": by_seed([0.9, 0.8]), "c": by_seed([0.5, 0.5]), "d": {}}
    found = comparisons_with(None, scores, lower_is_better=False)
    assert [(one.first, one.second) for one in found] == [("b", "c"), ("b", "a")]
    assert [one.adjusted for one in found] == holm([one.p for one in found])
    assert all(one.bootstrap[0] <= one.difference <= one.bootstrap[1] for one in found)
    assert comparisons_with(None, scores, lower_is_better=True)[0].first == "a"


def test_several_comparisons_are_corrected() -> None:
    """Among many equal methods, one that seems worse by chance is not said to be."""
    base, chance = np.array([0.80, 0.81, 0.82, 0.83]), np.array([0.01, 0.012, 0.02, 0.03])
    alone = compare("a", "b", by_seed(base), by_seed(base - chance))
    assert alone.differs
    assert alone.p < 0.05
    same = {f"same{number}": by_seed(base - 1e-3 * RNG.permutation([-1, 1, -2, 2])) for number in range(8)}
    found = comparisons_with(
        None, {"a": by_seed(base + 1e-4), **same, "b": by_seed(base - chance)}, lower_is_better=False
    )
    assert found[-1].second == "b"
    assert not found[-1].differs
    assert "by Holm's correction" in str(found[-1])
