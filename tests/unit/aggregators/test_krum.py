"""Krum against brute force: ties, dropped clients and rows of extreme size."""

import warnings

import pytest
import torch

from fedsim.aggregators import build_aggregator
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.updates.matrix import BLOCK
from support.aggregation import context_of
from support.references import krum_choice, random_rows

beyond_the_proof = pytest.mark.filterwarnings("ignore:.*whose proof holds:fedsim.errors.FedsimWarning")

# Too large an f, and dropped clients ---------------------------------------------------------------


@pytest.mark.parametrize(("clients", "largest"), [(3, 0), (4, 0), (5, 1), (6, 1), (7, 2), (10, 3)])
def test_krum_warns_beyond_its_proof_and_goes_on(clients: int, largest: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_aggregator("krum", num_byzantine=largest).check(clients)
    too_many = build_aggregator("krum", num_byzantine=largest + 1)
    with pytest.warns(FedsimWarning, match=f"num_byzantine: {largest + 1} is too many"):
        too_many.check(clients)
    rows = random_rows(clients, 77)
    assert torch.equal(too_many(rows), rows[krum_choice(rows, largest + 1)])  # and has warned already


@pytest.mark.parametrize("name", ["krum", "multi_krum"])
def test_a_direct_call_beyond_the_proof_warns_once(name: str) -> None:
    aggregator = build_aggregator(name, num_byzantine=2)
    with pytest.warns(FedsimWarning, match=f"2 is too many for 5 clients under {name}, whose proof holds up to 1"):
        aggregator(random_rows(5, 77))
    aggregator(random_rows(5, 77, seed=1))  # FedsimWarnings are errors here
    assert aggregator.diagnostics.scalars["num_byzantine"] == 2


@beyond_the_proof
def test_krum_has_at_least_one_neighbour() -> None:
    rows = torch.tensor([[0.0], [10.0], [10.5], [11.1], [30.0]])
    assert build_aggregator("krum", num_byzantine=4)(rows).tolist() == [10.0]


@pytest.mark.parametrize("name", ["krum", "multi_krum"])
def test_as_many_byzantine_clients_as_there_are_make_no_sense(name: str) -> None:
    with pytest.raises(ConfigError, match="5 is too many for 5 clients"):
        build_aggregator(name, num_byzantine=5)(random_rows(5, 7))


@beyond_the_proof
def test_a_dropped_client_counts_against_the_f_of_krum() -> None:
    rows = torch.tensor([[0.0], [0.1], [10.0], [10.5], [11.0]])
    krum = build_aggregator("krum", num_byzantine=2)  # one neighbour; two neighbours once a client was dropped
    assert krum(rows, context_of(range(5))).item() == 0.0
    assert krum(rows, context_of(range(5), dropped=1)).item() == 10.5
    bad = torch.cat([rows, torch.tensor([[torch.nan]])])
    with pytest.warns(FedsimWarning, match=r"\[5\]"):
        assert krum(bad, context_of(range(6))).item() == 10.5


# Krum ----------------------------------------------------------------------------------------------


@beyond_the_proof
@pytest.mark.parametrize("f", [0, 1, 2, None])
@pytest.mark.parametrize("count", [3, 5, 9, 12])
def test_krum_selects_what_brute_force_selects(count: int, f: int | None) -> None:
    for seed in range(8):
        rows = random_rows(count, 30, seed=seed)
        aggregator = build_aggregator("krum", num_byzantine=f)
        step = aggregator(rows)
        choice = krum_choice(rows, f)
        assert torch.equal(step, rows[choice])
        assert aggregator.diagnostics.per_client["selected"].tolist() == [
            float(row == choice) for row in range(count)
        ]


@pytest.mark.parametrize("ids", [[0, 1, 2, 3], [3, 2, 1, 0], [20, 30, 4, 7]])
def test_krum_breaks_a_tie_by_the_lower_client_id(ids: list[int]) -> None:
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])  # the corners of a square
    step = build_aggregator("krum")(rows, context_of(ids))
    assert torch.equal(step, rows[ids.index(min(ids))])


@pytest.mark.parametrize("count", [2, 4, 6, 8])
@pytest.mark.parametrize("columns", [30, 1001, BLOCK + 77])
def test_krum_breaks_the_tie_of_two_equal_groups_by_the_lower_client_id(columns: int, count: int) -> None:
    """Every score is the same multiple of one distance, whatever the rounding of its sum."""
    for seed in range(6):
        a, b = random_rows(2, columns, seed=seed)
        rows = torch.stack([a] * (count // 2) + [b] * (count // 2))
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
        ids = torch.randperm(100, generator=torch.Generator().manual_seed(seed))[:count].tolist()
        step = build_aggregator("krum", num_byzantine=0)(rows[order], context_of(ids))
        assert torch.equal(step, rows[order][ids.index(min(ids))]), seed


def test_krum_of_one_and_of_two_rows() -> None:
    rows = torch.tensor([[5.0, 1.0], [2.0, 2.0]])
    assert torch.equal(build_aggregator("krum")(rows[:1]), rows[0])
    assert torch.equal(build_aggregator("krum")(rows, context_of([4, 2])), rows[1])


@pytest.mark.parametrize("gap", [1.0, 1e-6])
def test_krum_takes_the_larger_of_two_groups(gap: float) -> None:
    a, noise = 1 + random_rows(2, 1001).abs()
    b = a + gap * noise
    rows = torch.stack([b, a, b, a, a])
    assert torch.equal(build_aggregator("krum", num_byzantine=1)(rows), a)


def test_krum_sees_differences_in_the_seventh_digit() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        base = 1 + torch.rand(1001, generator=generator)
        rows = torch.stack([base + 1e-6 * torch.randn(1001, generator=generator) for _ in range(7)])
        assert torch.equal(build_aggregator("krum")(rows), rows[krum_choice(rows)])


@pytest.mark.parametrize("place", [0, 3, 6])
def test_krum_is_right_beside_a_row_at_1e20(place: int) -> None:
    for seed in range(5):
        honest = 1e-3 * random_rows(6, 1001, seed=seed)
        rows = torch.cat([honest[:place], torch.full((1, 1001), 1e20), honest[place:]])
        choice = krum_choice(rows)
        assert choice != place
        assert torch.equal(build_aggregator("krum")(rows), rows[choice])
