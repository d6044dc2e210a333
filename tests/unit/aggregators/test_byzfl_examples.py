"""ByzFL's published examples of aggregators and pre-aggregators, run on ours.

They are read out of the installed package; none of its text is here.
"""

from itertools import permutations

import pytest

from support import byzfl_adapter
from support.byzfl_examples import docstrings, examples, run_examples

PUBLISHED = docstrings("aggregators/aggregators.py") | docstrings("aggregators/preaggregators.py")
WITHOUT_COUNTERPART = {"MoNNA", "SMEA"}
SAME = sorted(PUBLISHED.keys() - WITHOUT_COUNTERPART - {"Bucketing"})

pytestmark = pytest.mark.filterwarnings("ignore:.*whose proof holds:fedsim.errors.FedsimWarning")


@pytest.mark.parametrize("name", SAME)
def test_an_example_gives_what_byzfl_prints(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for example, value, _ in run_examples(PUBLISHED[name], monkeypatch):
        assert example.prints(value), (value, example.printed)


def test_bucketing_gives_what_byzfl_prints_for_one_order_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its buckets are drawn at random, by generators of numpy and torch there and by the round's here."""
    for example, value, names in run_examples(PUBLISHED["Bucketing"], monkeypatch):
        assert value.shape == example.printed.shape
        rows, bucketing = names["x"], names["agg"]
        ours = [bucketing([rows[row] for row in order]) for order in permutations(range(3))]
        assert any(example.prints(buckets) for buckets in ours), (ours, example.printed)


def test_every_class_of_byzfl_is_compared_or_known_to_have_no_counterpart() -> None:
    assert {name for name in PUBLISHED if not hasattr(byzfl_adapter, name)} == WITHOUT_COUNTERPART


@pytest.mark.parametrize(
    "docstring",
    [
        "",
        ">>> x = 1\n\nNothing is printed.",
        ">>> 1\narray([1.])\n\nBut no tensor.",
        ">>> 1\n\narray([1.])",
        ">>> 1\nmatrix([1.])",
        ">>> 1\narray([1., one])\n\n>>> 1\ntensor([1.])",
    ],
)
def test_a_docstring_without_examples_that_can_be_read_is_an_error(docstring: str) -> None:
    with pytest.raises(AssertionError):
        examples(docstring)
