"""FedSECA against a literal float64 form of Eq. 4-11, and its corner cases by hand."""

import copy

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import RoundContext, build_aggregator
from fedsim.aggregators.fedseca import clip_factors, concordance_votes
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.updates.matrix import UpdateMatrix
from support.fedseca_reference import fedseca, fedseca_of_a_round
from support.references import concordance_ratios, integer_rows, random_rows

both_variants = pytest.mark.parametrize("variant", ["paper", "released_code"])


def assert_as_published(rows: Tensor, sparsity: float, variant: str) -> None:
    """Every value of a step is a mean of numbers of one sign, so a purely relative tolerance holds."""
    step = build_aggregator("fedseca", sparsity=sparsity, variant=variant)(rows)
    expected = fedseca_of_a_round(rows, sparsity, variant)
    assert torch.equal(step == 0, expected == 0)
    torch.testing.assert_close(step.double(), expected, rtol=1e-6 if rows.dtype == torch.float32 else 1e-13, atol=0)


@both_variants
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 10, 33])
def test_step_follows_the_equations(rows: int, sparsity: float, variant: str) -> None:
    assert_as_published(random_rows(rows, 201, seed=rows), sparsity, variant)


@both_variants
@pytest.mark.parametrize("rows", [1, 4, 5])
def test_step_follows_the_equations_in_float64(rows: int, variant: str) -> None:
    for sparsity in (0.3, 0.9):
        assert_as_published(random_rows(rows, 201, seed=rows).double(), sparsity, variant)


@both_variants
@pytest.mark.parametrize("seed", range(12))
def test_step_follows_the_equations_with_ties_everywhere(seed: int, variant: str) -> None:
    for rows in (2, 4, 5, 6):
        assert_as_published(integer_rows(rows, 41, seed), 0.5, variant)


@both_variants
def test_rows_of_very_different_norms_are_clipped_to_the_lower_median(variant: str) -> None:
    rows = random_rows(6, 101, seed=3) * torch.tensor([1e-3, 1.0, 1.0, 5.0, 1e3, 1e20])[:, None]
    assert_as_published(rows, 0.5, variant)


@both_variants
@pytest.mark.parametrize("zero", [[0], [1, 4], [0, 1, 2], [0, 1, 2, 3, 4]])
def test_zero_rows_stay_zero_and_do_not_divide(zero: list[int], variant: str) -> None:
    rows = random_rows(5, 101, seed=4, shift=2.0)
    rows[zero] = 0
    assert_as_published(rows, 0.5, variant)
    assert bool(build_aggregator("fedseca", variant=variant)(rows).isfinite().all())


@both_variants
def test_a_column_of_zeros_gives_zero_and_the_others_are_not_disturbed(variant: str) -> None:
    rows = random_rows(5, 101, seed=5, shift=2.0)
    rows[:, [0, 50, 100]] = 0
    step = build_aggregator("fedseca", sparsity=0.3, variant=variant)(rows)
    assert not step[[0, 50, 100]].any()
    assert step.count_nonzero() > 30
    assert_as_published(rows, 0.3, variant)


@both_variants
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_momentum_follows_equation_11_over_several_rounds(momentum: float, variant: str) -> None:
    rounds = [random_rows(5, 101, seed=seed, shift=2.0) for seed in range(6)]
    aggregator = build_aggregator("fedseca", sparsity=0.6, momentum=momentum, variant=variant)
    expected = fedseca(rounds, 0.6, momentum, variant)
    for number, (rows, wanted) in enumerate(zip(rounds, expected, strict=True)):
        step = aggregator(rows, RoundContext(round=number, client_ids=(0, 1, 2, 3, 4)))
        torch.testing.assert_close(step.double(), wanted, rtol=1e-5, atol=1e-6)


def test_the_first_step_with_momentum_has_no_bias_correction() -> None:
    rows = random_rows(5, 101, shift=2.0)
    plain, smoothed = build_aggregator("fedseca")(rows), build_aggregator("fedseca", momentum=0.75)(rows)
    torch.testing.assert_close(smoothed, 0.25 * plain)


def test_the_variants_differ() -> None:
    rows = random_rows(5, 101, seed=7)
    paper, released = (build_aggregator("fedseca", variant=variant)(rows) for variant in ("paper", "released_code"))
    assert not torch.allclose(paper, released)


def test_votes_are_counted_in_integers_so_that_a_tie_is_a_tie() -> None:
    """In floating point 1/K + ... - n/K is not always 0; a tie must give exactly 0."""
    found = 0
    for seed in range(40):
        rows = integer_rows(10, 60, seed)
        ratios = concordance_ratios(rows)
        signs = rows.sign()
        exact = [sum(r * int(s) for r, s in zip(ratios, column, strict=True)) for column in signs.T]
        naive = [sum(float(r) * float(s) for r, s in zip(ratios, column, strict=True)) for column in signs.T]
        hard = [j for j, (e, n) in enumerate(zip(exact, naive, strict=True)) if e == 0 and n != 0]
        found += len(hard)
        assert not build_aggregator("fedseca", sparsity=0.0)(rows)[hard].any()
    assert found > 0


def test_concordance_by_hand() -> None:
    rows = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, -1], [-1, -1, 1, 1], [-1, -1, -1, -1]])
    agreement = UpdateMatrix(rows).sign_agreement()
    assert agreement[0].tolist() == [4, 2, 0, -4]
    assert agreement[1].tolist() == [2, 4, -2, -2]
    assert agreement[2].tolist() == [0, -2, 4, 0]
    assert agreement[3].tolist() == [-4, -2, 0, 4]
    assert concordance_votes(agreement).tolist() == [1, 0, 0, 0]
    aggregator = build_aggregator("fedseca")
    aggregator(rows)
    assert aggregator.diagnostics.per_client["concordance_ratio"].tolist() == [0.25, 0.0, 0.0, 0.0]


def test_concordance_of_a_lonely_client_is_zero_and_not_negative() -> None:
    rows = torch.cat([torch.ones(4, 9), -torch.ones(1, 9)])
    assert concordance_votes(UpdateMatrix(rows).sign_agreement()).tolist() == [3, 3, 3, 3, 0]


def test_clip_factors_by_hand() -> None:
    norms = torch.tensor([0.0, 1.0, 2.0, 8.0], dtype=torch.float64)
    assert clip_factors(norms).tolist() == [1.0, 1.0, 0.5, 0.125]
    assert clip_factors(torch.tensor([0.0, 0.0, 3.0])).tolist() == [1.0, 1.0, 0.0]


def test_sparsity_is_strict_in_the_paper_and_inclusive_in_the_released_code() -> None:
    row = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0]])  # the 0.5-quantile is 3 itself
    assert build_aggregator("fedseca", sparsity=0.5)(row).tolist() == [0, 0, 0, 4, 5]
    assert build_aggregator("fedseca", sparsity=0.5, variant="released_code")(row).tolist() == [0, 0, 3, 4, 5]


def test_the_quantile_is_compared_in_float64() -> None:
    """Quantiles between two neighbouring float32 numbers must not be rounded onto one of them."""
    low = torch.tensor(1.0)
    high = low.nextafter(torch.tensor(2.0))
    row = torch.stack([low, high])[None]
    for sparsity in (0.1, 0.5, 0.9):
        for variant in ("paper", "released_code"):
            step = build_aggregator("fedseca", sparsity=sparsity, variant=variant)(row)
            assert step.tolist() == [0.0, float(high)], (sparsity, variant)


def test_the_released_code_votes_with_the_signs_that_remain() -> None:
    rows = torch.tensor([[5.0, 0.2, 4.0], [5.0, 0.2, -0.1], [5.0, 0.2, -0.1]])
    # Column 2: the raw signs elect minus, but only client 0 keeps its value there (thresholds 3.24 and 0.18).
    assert build_aggregator("fedseca", sparsity=0.4)(rows)[2] == 0
    assert build_aggregator("fedseca", sparsity=0.4, variant="released_code")(rows)[2] == torch.tensor(0.1)


def test_the_released_code_clamps_rows_that_were_not_clipped() -> None:
    rows = torch.tensor([[2.0, 0.0], [0.0, 4.0], [8.0, 6.0], [6.0, 8.0]])  # norms 2, 4, 10, 10; tau = 4
    paper = build_aggregator("fedseca", sparsity=0.0)(rows)
    released = build_aggregator("fedseca", sparsity=0.0, variant="released_code")(rows)
    # Magnitudes of column 0: clipped 2, 0, 3.2, 2.4, lower median 2; of column 1: 0, 4, 2.4, 3.2, lower median 2.4.
    # Every row is at least as long as the median in one of the variants, so that both end at the medians here ...
    torch.testing.assert_close(paper, torch.tensor([2.0, 2.4]))
    torch.testing.assert_close(released, torch.tensor([2.0, 2.4]))
    # ... and differ where a row that was clipped below the median was not below it before: row 4 of column 0.
    rows = torch.tensor([[2.0, 0.0], [4.0, 0.0], [4.0, 0.0], [3.0, 40.0]])  # norms 2, 4, 4, 40.1; tau = 4
    paper = build_aggregator("fedseca", sparsity=0.0)(rows)
    released = build_aggregator("fedseca", sparsity=0.0, variant="released_code")(rows)
    clipped = 3 * 4 / (9 + 1600) ** 0.5  # magnitudes 2, 4, 4, 0.3: the lower median is 2
    assert float(paper[0]) == pytest.approx((2 + 2 + 2 + 0) / 3, rel=1e-6)
    assert clipped < 2
    assert float(released[0]) == pytest.approx((2 + 2 + 2 + 2) / 4)


def test_diagnostics_count_survivors_agreement_and_undecided_coordinates() -> None:
    rows = torch.tensor([[3.0, -1.0, 0.1, 0.0], [2.0, -2.0, 0.1, 0.0], [-3.0, 1.0, 0.1, 0.0]])
    aggregator = build_aggregator("fedseca", sparsity=0.4)
    aggregator(rows)
    report = aggregator.diagnostics
    # Position 0.4 * 3 = 1.2: thresholds 0.28, 0.28, 0.28, so columns 0 and 1 survive in every row.
    assert report.per_client["concordance_ratio"].tolist() == pytest.approx([1 / 3, 1 / 3, 0.0])
    assert report.per_client["agreed_share"].tolist() == [1.0, 1.0, 0.0]
    assert report.scalars["undecided_share"] == 0.25
    assert torch.equal(report.trust, report.per_client["concordance_ratio"])


def test_momentum_is_state_and_changes_the_next_step() -> None:
    first, second = random_rows(5, 101, seed=1, shift=2.0), random_rows(5, 101, seed=2, shift=2.0)
    aggregator = build_aggregator("fedseca", momentum=0.5)
    aggregator(first)
    state = copy.deepcopy(aggregator.state_dict())
    expected = aggregator(second)
    resumed, fresh = build_aggregator("fedseca", momentum=0.5), build_aggregator("fedseca", momentum=0.5)
    resumed.load_state_dict(state)
    assert torch.equal(resumed(second), expected)
    assert not torch.allclose(fresh(second), expected)


def test_a_step_may_be_changed_by_its_owner_without_touching_the_momentum() -> None:
    rows = random_rows(5, 101, shift=2.0)
    one, other = build_aggregator("fedseca", momentum=0.5), build_aggregator("fedseca", momentum=0.5)
    one(rows).fill_(1e9)
    other(rows)
    assert torch.equal(one(rows), other(rows))


def test_a_state_taken_earlier_does_not_move_with_later_rounds() -> None:
    aggregator = build_aggregator("fedseca", momentum=0.5)
    aggregator(random_rows(5, 101, seed=1, shift=2.0))
    state = aggregator.state_dict()
    before = copy.deepcopy(state)
    aggregator(random_rows(5, 101, seed=2, shift=2.0))
    assert torch.equal(state["smoothed"], before["smoothed"])


def test_loading_the_state_of_a_fresh_aggregator_forgets_the_momentum() -> None:
    rows = random_rows(5, 101, shift=2.0)
    aggregator = build_aggregator("fedseca", momentum=0.5)
    first = aggregator(rows)
    aggregator.load_state_dict(build_aggregator("fedseca", momentum=0.5).state_dict())
    assert torch.equal(aggregator(rows), first)


def test_a_round_without_usable_rows_leaves_the_momentum_alone() -> None:
    rows = random_rows(3, 101, shift=2.0)
    aggregator, undisturbed = (build_aggregator("fedseca", momentum=0.5) for _ in range(2))
    aggregator(rows)
    undisturbed(rows)
    with pytest.warns(FedsimWarning, match=r"\[0, 1, 2\]"):
        assert not aggregator(torch.full((3, 101), torch.nan)).any()
    assert torch.equal(aggregator(rows), undisturbed(rows))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sparsity", 1.0),
        ("sparsity", -0.1),
        ("sparsity", float("nan")),
        ("sparsity", "0.9"),
        ("momentum", 1.0),
        ("momentum", -0.5),
        ("variant", "original"),
    ],
)
def test_impossible_settings_are_named(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key) as caught:
        build_aggregator("fedseca", **{key: value})
    assert caught.value.key == key
