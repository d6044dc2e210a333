"""Every registered aggregator by the same properties; the coordinate-wise ones and Krum by their definitions."""

import copy
import io
import warnings
from typing import Any

import byzfl
import pytest
import torch
from torch import Tensor

from fedsim.aggregators import Aggregator, RoundContext, available_aggregators, build_aggregator
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.updates.matrix import BLOCK, UpdateMatrix
from fedsim.updates.sharded import ColumnShards
from support.references import AGGREGATORS, krum_choice, random_rows, trimmed_mean

WIDER = 5 * BLOCK + 77
"""Six blocks: two for each of three shards."""
Case = tuple[str, dict[str, Any]]
MORE: list[Case] = [
    ("cwtm", {"num_byzantine": 1}),
    ("krum", {"num_byzantine": 1}),
    ("fedseca", {"sparsity": 0.5, "momentum": 0.5}),
    ("fedseca", {"sparsity": 0.5, "variant": "released_code"}),
]
CASES: list[Case] = [(name, {}) for name in available_aggregators()] + MORE


def case_id(value: object) -> str:
    return "-".join(f"{key}={setting}" for key, setting in value.items()) if isinstance(value, dict) else str(value)


every_aggregator = pytest.mark.parametrize(("name", "settings"), CASES, ids=case_id)
robust_ones = pytest.mark.parametrize("name", ["cwmed", "cwtm", "krum", "fedseca"])
SAME_BITS = {"fedavg", "cwmed", "cwtm", "fedseca"}
KEEPS_A_COMMON_ROW = {"fedavg", "cwmed", "cwtm", "krum"}


def context_of(client_ids: list[int] | range, round_number: int = 0, dropped: int = 0) -> RoundContext:
    return RoundContext(
        round=round_number,
        client_ids=tuple(client_ids),
        dropped=dropped,
        generator=torch.Generator().manual_seed(round_number),
    )


def run(aggregator: Aggregator, rows: Tensor | UpdateMatrix, ids: list[int] | None = None) -> Tensor:
    return aggregator(rows, context_of(range(len(rows)) if ids is None else ids))


def assert_same(one: Any, other: Any) -> None:
    """Equality of nested states, bit by bit."""
    if isinstance(one, Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            assert_same(value, other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    else:
        assert one == other


# Against independent forms -------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(AGGREGATORS))
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 7, 31, 32, 33, 40, 50])
def test_step_equals_the_float64_reference(rows: int, name: str) -> None:
    for seed in range(3):
        updates = random_rows(rows, 101, seed=seed)
        step = build_aggregator(name)(updates)
        torch.testing.assert_close(step.double(), AGGREGATORS[name](updates), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", sorted(AGGREGATORS))
def test_step_equals_the_float64_reference_with_ties(name: str) -> None:
    for seed in range(10):
        updates = torch.randint(-2, 3, (6, 40), generator=torch.Generator().manual_seed(seed)).float()
        step = build_aggregator(name)(updates)
        torch.testing.assert_close(step.double(), AGGREGATORS[name](updates), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("rows", [3, 5, 8, 33, 40])
def test_coordinate_wise_rules_equal_byzfl(rows: int) -> None:
    """ByzFL works in float32 even on float64 rows, hence the absolute tolerance."""
    updates = random_rows(rows, 300, seed=rows)
    pairs = [(build_aggregator("fedavg"), byzfl.Average())]
    pairs += [(build_aggregator("cwtm", num_byzantine=f), byzfl.TrMean(f)) for f in range((rows - 1) // 2 + 1)]
    if rows % 2:
        pairs.append((build_aggregator("cwmed"), byzfl.Median()))
    for ours, theirs in pairs:
        torch.testing.assert_close(ours(updates), theirs(updates), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("f", range(4))
def test_trimmed_mean_by_sorting(f: int) -> None:
    updates = random_rows(8, 100, seed=f)
    step = build_aggregator("cwtm", num_byzantine=f)(updates)
    torch.testing.assert_close(step.double(), trimmed_mean(updates, f), rtol=1e-6, atol=1e-7)


def test_median_of_an_even_number_is_the_lower_middle_value() -> None:
    assert build_aggregator("cwmed")(torch.tensor([[4.0], [1.0], [3.0], [2.0]])).tolist() == [2.0]


def test_trimmed_mean_of_an_even_number_averages_both_middle_values() -> None:
    assert build_aggregator("cwtm")(torch.tensor([[4.0], [1.0], [3.0], [2.0]])).tolist() == [2.5]


def test_mean_does_not_lose_small_values_beside_large_ones() -> None:
    rows = torch.tensor([[2.0**40], [1.0], [-(2.0**40)], [1.0]])
    assert build_aggregator("fedavg")(rows).tolist() == [0.5]
    assert build_aggregator("cwtm", num_byzantine=0)(rows).tolist() == [0.5]


# Properties of every aggregator --------------------------------------------------------------------


@every_aggregator
def test_whole_and_three_shards_agree(name: str, settings: dict[str, Any]) -> None:
    rows = random_rows(6, WIDER)
    cut = ColumnShards.cut(rows, 3)
    assert len(cut._shards) == 3
    one, other = run(build_aggregator(name, **settings), rows), run(build_aggregator(name, **settings), cut)
    if name in SAME_BITS:
        assert torch.equal(one, other)
    else:
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@every_aggregator
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_step_is_one_row_of_the_same_dtype(name: str, settings: dict[str, Any], dtype: torch.dtype) -> None:
    for shape in [(1, 1), (1, 5), (2, 1), (2, 5), (3, 1), (5, 77)]:
        step = run(build_aggregator(name, **settings), random_rows(*shape).to(dtype))
        assert step.shape == (shape[1],)
        assert step.dtype == dtype
        assert bool(step.isfinite().all())


@every_aggregator
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_inputs_are_never_changed(name: str, settings: dict[str, Any], count: int, dtype: torch.dtype) -> None:
    rows = random_rows(count, 77).to(dtype)
    before = rows.clone()
    aggregator = build_aggregator(name, **settings)
    for _ in range(2):
        run(aggregator, rows).fill_(123.0)  # the step is the caller's own memory
    assert torch.equal(rows, before)


@every_aggregator
@pytest.mark.parametrize("count", [2, 5, 6, 33, 40, 50])
def test_the_order_of_the_clients_does_not_matter(name: str, settings: dict[str, Any], count: int) -> None:
    ids = [3 * client + 1 for client in range(count)]
    one, other = (build_aggregator(name, **settings) for _ in range(2))
    for seed in range(2):
        rows = random_rows(count, 77, seed=seed)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(9 + seed)).tolist()
        step = one(rows, context_of(ids, seed))
        permuted = other(rows[order], context_of([ids[row] for row in order], seed))
        torch.testing.assert_close(permuted, step, rtol=1e-6, atol=1e-6)


@every_aggregator
def test_a_selection_counts_as_a_matrix_of_its_own(name: str, settings: dict[str, Any]) -> None:
    rows = random_rows(8, 77)
    chosen = [6, 1, 2, 7, 4]
    found = run(build_aggregator(name, **settings), UpdateMatrix(rows).select(chosen))
    assert torch.equal(found, run(build_aggregator(name, **settings), rows[chosen].clone()))


@every_aggregator
@pytest.mark.parametrize("count", [1, 2, 5, 6, 40])
def test_identical_rows_give_no_other_direction(name: str, settings: dict[str, Any], count: int) -> None:
    row = random_rows(1, 77)
    step = run(build_aggregator(name, **settings), row.expand(count, -1))
    if name in KEEPS_A_COMMON_ROW:
        assert torch.equal(step, row[0])
    else:
        assert bool(step.any())
        assert bool(((step == 0) | (step.sign() == row[0].sign())).all())


@every_aggregator
@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_zero_rows_give_a_zero_step(name: str, settings: dict[str, Any], count: int) -> None:
    aggregator = build_aggregator(name, **settings)
    for _ in range(2):
        assert torch.equal(run(aggregator, torch.zeros(count, 77)), torch.zeros(77))


@every_aggregator
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_row_with_a_bad_value_is_left_out_and_its_client_named(
    name: str, settings: dict[str, Any], bad: float
) -> None:
    rows = random_rows(6, 77)
    rows[2, 76] = bad
    kept = [0, 1, 3, 4, 5]
    ids = [9, 8, 37, 5, 4, 3]
    with pytest.warns(FedsimWarning, match=r"clients \[37\]"):
        step = run(build_aggregator(name, **settings), rows, ids)
    context = context_of([ids[row] for row in kept], dropped=1)
    assert torch.equal(step, build_aggregator(name, **settings)(rows[kept], context))
    assert bool(step.isfinite().all())


@every_aggregator
def test_without_context_the_clients_are_numbered_by_row(name: str, settings: dict[str, Any]) -> None:
    rows = random_rows(5, 77)
    rows[[1, 3], 0] = torch.nan
    with pytest.warns(FedsimWarning, match=r"clients \[1, 3\]"):
        build_aggregator(name, **settings)(rows)


@every_aggregator
@pytest.mark.parametrize("form", [UpdateMatrix, lambda rows: ColumnShards.cut(rows, 3)], ids=["whole", "shards"])
def test_without_a_usable_row_the_step_is_zero_and_the_state_unchanged(
    name: str, settings: dict[str, Any], form: Any
) -> None:
    aggregator = build_aggregator(name, **settings)
    run(aggregator, random_rows(3, 77))
    before = copy.deepcopy(aggregator.state_dict())
    with pytest.warns(FedsimWarning, match=r"\[5, 6, 7\]"):
        step = run(aggregator, form(torch.full((3, 77), torch.nan)), [7, 6, 5])
    assert torch.equal(step, torch.zeros(77))
    assert_same(aggregator.state_dict(), before)


@every_aggregator
def test_a_state_that_went_through_a_file_continues_with_the_same_bits(name: str, settings: dict[str, Any]) -> None:
    rounds = [random_rows(5, 77, seed=seed) for seed in range(4)]
    aggregator = build_aggregator(name, **settings)
    for number in range(2):
        aggregator(rounds[number], context_of(range(5), number))
    file = io.BytesIO()
    torch.save(aggregator.state_dict(), file)
    file.seek(0)
    resumed = build_aggregator(name, **settings)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for number in (2, 3):
        expected = aggregator(rounds[number], context_of(range(5), number))
        assert torch.equal(resumed(rounds[number], context_of(range(5), number)), expected)
    assert_same(resumed.state_dict(), aggregator.state_dict())


@every_aggregator
def test_the_same_call_gives_the_same_bits(name: str, settings: dict[str, Any]) -> None:
    rows = random_rows(7, 1001)
    one, other = (run(build_aggregator(name, **settings), rows) for _ in range(2))
    assert torch.equal(one, other)


@every_aggregator
def test_diagnostics_have_a_value_for_every_row(name: str, settings: dict[str, Any]) -> None:
    aggregator = build_aggregator(name, **settings)
    run(aggregator, random_rows(5, 77))
    report = aggregator.diagnostics
    assert {key: tuple(values.shape) for key, values in report.per_client.items()} == dict.fromkeys(
        report.per_client, (5,)
    )
    if report.trust is not None:
        assert report.trust.shape == (5,)
        assert bool(((report.trust >= 0) & (report.trust <= 1)).all())


@pytest.mark.parametrize("name", available_aggregators())
def test_an_unknown_setting_is_rejected_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match="sparsitee") as caught:
        build_aggregator(name, sparsitee=0.5)
    assert caught.value.key == "sparsitee"


@pytest.mark.parametrize("name", available_aggregators())
def test_defaults_pass_their_own_check_and_every_setting_has_help(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for clients in (1, 2, 3, 5, 50):
            build_aggregator(name).check(clients)
    description = available_aggregators()[name]
    assert description.summary
    assert description.references
    assert all(setting.help for setting in description.settings.values())


def test_an_unknown_aggregator_is_rejected_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"'fedsecca'; did you mean 'fedseca'"):
        build_aggregator("fedsecca")


@pytest.mark.parametrize("value", [-1, 1.5, "many", True])
@pytest.mark.parametrize("name", ["krum", "cwtm"])
def test_an_impossible_number_of_byzantine_clients_is_rejected(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match="num_byzantine"):
        build_aggregator(name, num_byzantine=value)


@pytest.mark.parametrize("name", ["krum", "cwtm"])
def test_the_oracle_is_not_available_outside_a_run(name: str) -> None:
    with pytest.raises(ConfigError, match="oracle"):
        build_aggregator(name, num_byzantine="oracle")(random_rows(5, 3))


# Too large an f, and dropped clients ---------------------------------------------------------------


@pytest.mark.parametrize(("clients", "largest"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (10, 4), (11, 5)])
def test_trimming_more_than_half_is_a_config_error(clients: int, largest: int) -> None:
    build_aggregator("cwtm", num_byzantine=largest).check(clients)
    with pytest.raises(ConfigError, match=f"the most it allows is {largest}") as caught:
        build_aggregator("cwtm", num_byzantine=largest + 1).check(clients)
    assert caught.value.key == "num_byzantine"


@pytest.mark.parametrize(("clients", "largest"), [(3, 0), (4, 0), (5, 1), (6, 1), (7, 2), (10, 3)])
def test_krum_warns_beyond_its_proof_and_goes_on(clients: int, largest: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_aggregator("krum", num_byzantine=largest).check(clients)
    too_many = build_aggregator("krum", num_byzantine=largest + 1)
    with pytest.warns(FedsimWarning, match=f"num_byzantine: {largest + 1} is too many"):
        too_many.check(clients)
    rows = random_rows(clients, 77)
    assert torch.equal(too_many(rows), rows[krum_choice(rows, largest + 1)])


def test_krum_with_an_absurd_f_uses_one_neighbour() -> None:
    rows = torch.tensor([[0.0], [10.0], [10.5], [11.1], [30.0]])
    assert build_aggregator("krum", num_byzantine=99)(rows).tolist() == [10.0]


def test_a_dropped_client_counts_against_the_f_of_krum() -> None:
    rows = torch.tensor([[0.0], [0.1], [10.0], [10.5], [11.0]])
    krum = build_aggregator("krum", num_byzantine=2)  # one neighbour; two neighbours once a client was dropped
    assert krum(rows, context_of(range(5))).item() == 0.0
    assert krum(rows, context_of(range(5), dropped=1)).item() == 10.5
    bad = torch.cat([rows, torch.tensor([[torch.nan]])])
    with pytest.warns(FedsimWarning, match=r"\[5\]"):
        assert krum(bad, context_of(range(6))).item() == 10.5


def test_a_dropped_client_counts_against_the_f_of_the_trimmed_mean() -> None:
    rows = torch.tensor([[0.0], [1.0], [2.0], [6.0], [100.0]])
    trimmed = build_aggregator("cwtm", num_byzantine=2)
    assert trimmed(rows, context_of(range(5))).item() == 2.0
    assert trimmed(rows, context_of(range(5), dropped=1)).item() == 3.0
    assert trimmed(rows, context_of(range(5), dropped=7)).item() == pytest.approx(21.8)


def test_fewer_rows_than_expected_trim_no_more_than_they_have() -> None:
    assert build_aggregator("cwtm", num_byzantine=2)(torch.tensor([[1.0], [5.0], [9.0]])).item() == 5.0


# Krum ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("f", [0, 1, 2, 3, None])
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
def test_krum_breaks_the_tie_of_two_equal_heaps_by_the_lower_client_id(columns: int, count: int) -> None:
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
def test_krum_takes_the_larger_of_two_heaps(gap: float) -> None:
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


# Robustness ----------------------------------------------------------------------------------------


def outliers(kind: str, honest: Tensor, count: int) -> Tensor:
    mean = honest.mean(0, keepdim=True)
    generator = torch.Generator().manual_seed(1)
    return {
        "all the same": torch.full((count, honest.shape[1]), 1e6),
        "against the mean": (-1e6 * mean.sign()).expand(count, -1),
        "every way": 1e6 * torch.randn(count, honest.shape[1], generator=generator).sign(),
        "both ways": 1e6 * torch.tensor([3.0, -1.0] * count)[:count, None].expand(-1, honest.shape[1]),
    }[kind]


@robust_ones
@pytest.mark.parametrize("kind", ["all the same", "against the mean", "every way", "both ways"])
@pytest.mark.parametrize(("clients", "byzantine"), [(3, 1), (4, 1), (5, 2), (6, 2), (7, 3), (10, 4), (41, 20)])
def test_fewer_than_half_outliers_do_not_leave_the_honest_range(
    clients: int, byzantine: int, kind: str, name: str
) -> None:
    """The stated factor is 1: no coordinate is larger than the largest honest one, up to float32 rounding."""
    honest = 1 + 0.3 * random_rows(clients - byzantine, 200, seed=clients)
    bound = honest.abs().amax(0) * (1 + 1e-6)
    rows = torch.cat([outliers(kind, honest, byzantine), honest])
    assert not bool((build_aggregator("fedavg")(rows).abs() <= bound).all())
    step = build_aggregator(name)(rows)
    assert bool((step.abs() <= bound).all())
    if name == "fedseca":
        assert float(step @ honest.mean(0)) > 0
    else:
        assert bool((step >= honest.amin(0) - 1e-6).all())


def test_a_step_of_a_wrong_shape_is_named() -> None:
    class Wrong(Aggregator):
        name = "wrong"

        def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
            return updates.tensor()

    with pytest.raises(ValueError, match=r"aggregator 'wrong' made a step of shape \[3, 4\]"):
        Wrong()(torch.ones(3, 4))
