"""One aggregator compared with each other one, by what a reader would compute from the scores."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from fedsim.report.sentences import compared
from fedsim.report.tables import WORST, Field, Table

RNG = np.random.default_rng(0)

Scores = dict[tuple[str, str], list[float]]


def scores_of(rows: str, columns: str) -> Scores:
    """Of three seeds; later rows are worse."""
    of_row = {row: 0.9 - 0.2 * place for place, row in enumerate(rows)}
    return {(row, column): (of_row[row] + RNG.normal(0, 0.01, 3)).tolist() for row, column in product(rows, columns)}


def table_of(scores: Scores, **states: dict[str, int]) -> Table:
    """A field that is named (``ax`` is row a, column x) lacks its last run, which is in a state."""
    fields = {
        place: Field(
            {str(seed): score for seed, score in enumerate(values[:2] if "".join(place) in states else values)},
            states.get("".join(place), {}),
        )
        for place, values in scores.items()
    }
    rows, columns = (list(dict.fromkeys(place[part] for place in scores)) for part in (0, 1))
    fields |= {(row, WORST): Field({"0": 9.0}, attack=columns[0]) for row in rows}
    return Table({}, rows, [*columns, WORST], fields)


def mean(scores: Scores, row: str) -> np.ndarray:
    return np.mean([values for (of, _), values in scores.items() if of == row], axis=0)


@pytest.mark.parametrize(("reference", "first", "others"), [(None, "a", ["b", "c"]), ("b", "b", ["a", "c"])])
def test_one_is_compared_with_each_other_on_the_means_over_the_columns(
    reference: str | None, first: str, others: list[str]
) -> None:
    scores = scores_of("abc", "xyz")
    found = compared(table_of(scores), reference, lower_is_better=False)
    assert [(one.first, one.second) for one in found.comparisons] == [(first, other) for other in others]
    for one in found.comparisons:
        expected = stats.ttest_rel(mean(scores, one.first), mean(scores, one.second))
        assert one.p == pytest.approx(expected.pvalue)
        assert one.difference == pytest.approx((mean(scores, one.first) - mean(scores, one.second)).mean())
    assert found.sentences[0].startswith(f"Over all 3 columns, {first} scores ")


def test_the_best_loss_is_the_lowest() -> None:
    assert compared(table_of(scores_of("abc", "x")), None, lower_is_better=True).comparisons[0].first == "c"


def test_what_has_one_seed_is_in_one_sentence() -> None:
    scores = scores_of("abcd", "xy")
    noise = "on 1 seed: one seed has no noise to compare with"
    first = {place: values[:1] for place, values in scores.items()}
    assert compared(table_of(first), None, lower_is_better=False).sentences == [
        f"Over all 2 columns, a cannot be told apart from b, c or d {noise}"
    ]
    some = {place: values if place[0] in "ac" else values[:1] for place, values in scores.items()}
    with_three, with_one = compared(table_of(some), None, lower_is_better=False).sentences
    assert with_three.startswith("Over all 2 columns, a scores ")
    assert with_one == f"Over all 2 columns, a cannot be told apart from b or d {noise}"
    two = {place: values for place, values in first.items() if place[0] in "ab"}
    assert compared(table_of(two), None, lower_is_better=False).sentences == [
        f"Over all 2 columns, a and b cannot be told apart {noise}"
    ]


def test_what_diverged_or_is_not_done_is_left_out_and_said_to_be() -> None:
    scores = scores_of("abcd", "xy")
    table = table_of(scores, ax={"diverged": 1}, by={"failed": 1})
    table.fields["c", "x"].scores = {}
    found = compared(table, None, lower_is_better=False)
    assert [(one.first, one.second, one.repeats) for one in found.comparisons] == [("b", "d", 2)]
    assert found.sentences[0] == "Left out of what follows: a (diverged), c (not all of it is done)"
    assert compared(table, "a", lower_is_better=False).sentences == []


def test_a_column_in_which_nobody_has_a_score_is_left_out() -> None:
    scores = scores_of("ab", "xy")
    for row in "ab":
        scores[row, "x"] = [float("nan")] * 3
    (one,) = compared(table_of(scores), None, lower_is_better=False).sentences
    assert one.startswith("Under y, a scores")
