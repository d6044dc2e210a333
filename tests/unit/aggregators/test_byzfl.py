"""Our aggregators and pre-aggregators against ByzFL's on random rows: equal, or different as stated.

Rows are float64 arrays, which ByzFL leaves as they are; tensors it turns into float32.
"""

from collections.abc import Callable

import byzfl
import numpy as np
import pytest
import torch
from byzfl.utils import torch_tools
from torch import Tensor

from fedsim.aggregators import Aggregator, build_aggregator
from fedsim.errors import ConfigError
from support import byzfl_adapter
from support.aggregation import context_of
from support.byzfl_adapter import Array
from support.byzfl_examples import docstrings
from support.distance_references import caf
from support.references import random_rows

CASES = [(5, 2), (7, 3), (6, 2)]
"""Clients and f."""
SEEDS = range(4)
COLUMNS = 50
EQUAL: dict[str, Callable[[int], dict[str, object]]] = {
    "ARC": lambda f: {"f": f},
    "Average": lambda f: {},
    "CenteredClipping": lambda f: {"L": 4, "tau": 5.0},
    "Clipping": lambda f: {"c": 7.0},
    "GeometricMedian": lambda f: {"nu": 0.1, "T": 5},
    "MDA": lambda f: {"f": f},
    "NNM": lambda f: {"f": f},
    "TrMean": lambda f: {"f": f},
}
"""ByzFL's name and its arguments."""
DIFFERENT = {
    "Bucketing": "the order of the rows is drawn by the generator of the round, not by numpy's or torch's",
    "CAF": "tau is divided by its maximum over the clients that have weight, not over all, and eigenvector and "
    "eigenvalue are exact, not those of one power iteration from a random start",
    "Krum": "scores sum the K-f-2 nearest neighbours as in the paper, ByzFL's K-f-1",
    "Meamed": "the median of an even number of values is the lower middle one, not the mean of the two",
    "Median": "the median of an even number of values is the lower middle one, not the mean of the two",
    "MultiKrum": "scores sum the K-f-2 nearest neighbours as in the paper, ByzFL's K-f-1",
}
"""Each has a test below that shows that nothing else differs."""
WITHOUT_COUNTERPART = {"MoNNA", "SMEA"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*whose proof holds:fedsim.errors.FedsimWarning"),
]
every_case = pytest.mark.parametrize(("clients", "f"), CASES)


def arrays(clients: int, seed: int, columns: int = COLUMNS) -> Array:
    """Float64 rows [K, D] of different lengths."""
    rows = random_rows(clients, columns, seed=seed) * torch.linspace(0.5, 3, clients)[:, None]
    return rows.double().numpy()


def assert_equal(ours: object, theirs: object, rtol: float = 1e-9) -> None:
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), rtol=rtol, atol=rtol)


# Equal ---------------------------------------------------------------------------------------------


@every_case
@pytest.mark.parametrize("name", EQUAL)
def test_equal_to_byzfl(name: str, clients: int, f: int) -> None:
    """Twice, for those that keep a state; on copies, because ByzFL's clipping changes the rows that it is given."""
    for seed in SEEDS:
        ours, theirs = (getattr(module, name)(**EQUAL[name](f)) for module in (byzfl_adapter, byzfl))
        for rows in (arrays(clients, seed), arrays(clients, 100 + seed)):
            assert_equal(ours(rows.copy()), theirs(rows.copy()))


@pytest.mark.parametrize("name", ["Median", "Meamed"])
def test_medians_of_an_odd_number_are_equal(name: str) -> None:
    for clients, f in [(5, 2), (7, 3), (9, 1)]:
        arguments = {} if name == "Median" else {"f": f}
        for seed in SEEDS:
            rows = arrays(clients, seed)
            assert_equal(getattr(byzfl_adapter, name)(**arguments)(rows), getattr(byzfl, name)(**arguments)(rows))


def test_every_class_of_byzfl_is_compared() -> None:
    published = docstrings("aggregators/aggregators.py") | docstrings("aggregators/preaggregators.py")
    assert published.keys() == EQUAL.keys() | DIFFERENT.keys() | WITHOUT_COUNTERPART


# Different by definition, and by nothing else ------------------------------------------------------


@pytest.mark.parametrize("name", ["Median", "Meamed"])
def test_medians_of_an_even_number_are_equal_once_byzfl_takes_the_lower_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {} if name == "Median" else {"f": 2}
    ours, theirs = getattr(byzfl_adapter, name)(**arguments), getattr(byzfl, name)(**arguments)
    many = [torch.from_numpy(arrays(6, seed)).float() for seed in SEEDS]
    assert not any(torch.allclose(ours(rows), theirs(rows)) for rows in many)
    monkeypatch.setattr(torch_tools, "median", lambda rows, axis: rows.median(dim=axis).values)
    for rows in many:
        assert_equal(ours(rows), theirs(rows), rtol=1e-6)


def test_the_median_of_byzfl_is_the_mean_of_the_lower_and_the_upper_one() -> None:
    for seed in SEEDS:
        rows, median = arrays(6, seed), byzfl_adapter.Median()
        assert_equal((median(rows) - median(-rows)) / 2, byzfl.Median()(rows))


@every_case
@pytest.mark.parametrize("name", ["krum", "multi_krum"])
def test_krums_with_one_f_less_sum_as_many_neighbours_as_those_of_byzfl(name: str, clients: int, f: int) -> None:
    """On 40 draws of rows of similar lengths; with the same f, the choice is another in some of them."""

    def ours(number: int) -> Aggregator:
        if name == "krum":
            return byzfl_adapter.Krum(number).method
        return build_aggregator("multi_krum", num_byzantine=number, num_selected=clients - f)

    same, one_less = ours(f), ours(f - 1)
    theirs = byzfl.Krum(f) if name == "krum" else byzfl.MultiKrum(f)
    draws = [random_rows(clients, 10, seed=seed).double() for seed in range(40)]
    for rows in draws:
        assert_equal(one_less(rows), theirs(rows.numpy()))
    assert not all(np.allclose(same(rows), theirs(rows.numpy())) for rows in draws)


@every_case
def test_caf_is_equal_once_byzfl_starts_at_the_eigenvector_but_for_the_maximum(
    clients: int, f: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows along one line have the same eigenvector in every pass. ByzFL is the reference with the maximum over all.

    On many other rows its filter takes thousands of passes: a client far out that has lost its weight stays the
    maximum, and the others lose little.
    """
    line = arrays(1, seed=9)[0]
    monkeypatch.setattr(np.random, "randn", lambda columns: line[:columns].copy())
    differ = False
    for seed in (0, 2):
        rows = arrays(clients, seed, columns=1) * line
        rows[:f] *= 5
        theirs = byzfl.CAF(f)(rows)
        assert_equal(theirs, caf(torch.from_numpy(rows), f, largest_of_all=True))
        assert_equal(byzfl_adapter.CAF(f)(rows), caf(torch.from_numpy(rows), f))
        differ |= not np.allclose(theirs, byzfl_adapter.CAF(f)(rows))
    assert differ


def test_caf_of_byzfl_depends_on_its_random_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np.random, "randn", np.random.default_rng(0).standard_normal)
    rows = arrays(7, seed=0)
    theirs, ours = ([caf_of(3)(rows) for _ in range(10)] for caf_of in (byzfl.CAF, byzfl_adapter.CAF))
    assert not all(np.allclose(theirs[0], step) for step in theirs)
    assert all(np.array_equal(ours[0], step) for step in ours)


@pytest.mark.parametrize(("clients", "size"), [(5, 2), (7, 3), (6, 2), (6, 1), (3, 5)])
def test_buckets_are_equal_once_byzfl_draws_our_order(
    clients: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shuffled(rows: Tensor) -> Tensor:
        return rows[torch.randperm(len(rows), generator=context_of(range(len(rows))).randomness())]

    rows = torch.from_numpy(arrays(clients, seed=clients)).float()
    monkeypatch.setattr(torch_tools, "permutation", shuffled)
    assert_equal(byzfl_adapter.Bucketing(size)(rows), byzfl.Bucketing(size)(rows), rtol=1e-6)


# Limits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["TrMean", "MDA", "Meamed", "CAF"])
@pytest.mark.parametrize("clients", [2, 5, 6, 11])
def test_both_refuse_an_f_of_half_of_the_clients(name: str, clients: int) -> None:
    largest = (clients - 1) // 2
    getattr(byzfl_adapter, name)(largest).method.check(clients)
    getattr(byzfl, name)(largest)(arrays(clients, seed=0))
    with pytest.raises(ConfigError, match=f"the most it allows is {largest}"):
        getattr(byzfl_adapter, name)(largest + 1).method.check(clients)
    with pytest.raises(ValueError, match="Cannot tolerate"):
        getattr(byzfl, name)(largest + 1)(arrays(clients, seed=0))


@pytest.mark.parametrize("name", ["NNM", "ARC"])
def test_only_ours_refuse_to_mix_and_to_clip_for_half_of_the_clients(name: str) -> None:
    getattr(byzfl, name)(4)(arrays(6, seed=0))
    with pytest.raises(ConfigError, match="the most it allows is 2"):
        getattr(byzfl_adapter, name)(4).method.check(6)
