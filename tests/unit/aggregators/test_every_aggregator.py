"""Every registered aggregator by the same properties, and against references where there are any."""

import copy
import io
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import Aggregator, RoundContext, aggregators, available_aggregators, build_aggregator
from fedsim.aggregators.defence import Defence
from fedsim.aggregators.pre import pre_aggregators
from fedsim.attacks import attacks
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.updates.matrix import UpdateMatrix
from support.aggregation import assert_same, case_id, context_of
from support.attack_views import full_context
from support.column_ranks import AggregatorOnRanks, shrink_blocks
from support.fedseca_reference import fedseca_of_a_round
from support.references import krum, mean, median, random_rows, trimmed_mean

Case = tuple[str, dict[str, Any]]

MORE: list[Case] = [
    ("cwtm", {"num_byzantine": 1}),
    ("krum", {"num_byzantine": 1}),
    ("fedseca", {"sparsity": 0.5, "momentum": 0.5}),
    ("fedseca", {"sparsity": 0.5, "variant": "released_code"}),
    ("fedseca", {"sparsity": 0.5, "election": "magnitude"}),
    ("fedseca", {"sparsity": 0.5, "election": "uniform", "clip": False, "clamp": False, "agree": False}),
]

CASES: list[Case] = [(name, {}) for name in available_aggregators()] + MORE
every_aggregator = pytest.mark.parametrize(("name", "settings"), CASES, ids=case_id)
robust_ones = pytest.mark.parametrize("name", ["cwmed", "cwtm", "krum", "fedseca"])
KEEPS_A_COMMON_ROW = {"fedavg", "cwmed", "cwtm", "krum"}


def run(aggregator: Aggregator, rows: Tensor | UpdateMatrix, ids: list[int] | None = None) -> Tensor:
    return aggregator(rows, context_of(range(len(rows)) if ids is None else ids))


def build_for(count: int, name: str, settings: dict[str, Any]) -> Aggregator:
    """The aggregator; where an f was given that so few rows do not allow, with the f that they do."""
    return build_aggregator(name, **{key: value for key, value in settings.items() if count > 4 or "num" not in key})


# Against independent forms -------------------------------------------------------------------------

REFERENCES = {"fedavg": mean, "cwmed": median, "cwtm": trimmed_mean, "krum": krum, "fedseca": fedseca_of_a_round}


@pytest.mark.parametrize("name", sorted(REFERENCES))
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 7, 31, 32, 33, 40, 50])
def test_step_equals_the_float64_reference(rows: int, name: str) -> None:
    for seed in range(3):
        updates = random_rows(rows, 101, seed=seed)
        step = build_aggregator(name)(updates)
        torch.testing.assert_close(step.double(), REFERENCES[name](updates), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_step_equals_the_float64_reference_with_ties(name: str) -> None:
    for seed in range(10):
        updates = torch.randint(-2, 3, (6, 40), generator=torch.Generator().manual_seed(seed)).float()
        step = build_aggregator(name)(updates)
        torch.testing.assert_close(step.double(), REFERENCES[name](updates), rtol=1e-6, atol=1e-7)


# Properties of every aggregator --------------------------------------------------------------------


COLUMN_CASES: list[Case] = [
    *CASES,
    ("centered_clipping", {"radius": 0.5, "iterations": 3}),
    ("detox", {"vote": "mean", "inner": "krum"}),
    ("election_coding", {"assignment": "bernoulli"}),
    ("fedavg", {"weighting": "samples"}),
    ("fldetector", {"window": 1}),
    ("huber", {"threshold": 0.1}),
    ("rffl", {"warmup_rounds": 1, "fade": 0.3}),
    ("robust_tailor", {"pool": ["cwmed", "centered_clipping"], "attacks": ["mimic", "gaussian"]}),
    ("ties", {"election": "sign"}),
]


def tricky_rounds(rounds: int, count: int, columns: int, dtype: torch.dtype) -> list[Tensor]:
    """Rows with zeros, all that rank 0 of several has; equal rows; NaN of a client in the last round."""
    made = [random_rows(count, columns, seed=seed) + random_rows(1, columns, seed=99) for seed in range(rounds)]
    for rows in made:
        rows[:, ::7] = rows[:, : columns // 3] = 0
        rows[3:4] = rows[2:3]
    made[-1][: count - 1][:1, -1] = torch.nan  # not the only client
    return [rows.to(dtype) for rows in made]


@pytest.mark.filterwarnings("ignore::fedsim.errors.FedsimWarning")
@pytest.mark.parametrize(("name", "settings"), COLUMN_CASES, ids=case_id)
@pytest.mark.parametrize(
    ("count", "columns", "ranks", "rounds", "dtype"),
    [
        (7, 450, 5, 3, torch.float32),
        (5, 150, 2, 2, torch.float64),
        (6, 150, 3, 2, torch.bfloat16),
        (5, 1, 2, 2, torch.float32),  # a single block, which lies on rank 0
        (1, 150, 3, 1, torch.float32),
    ],
    ids=case_id,
)
def test_steps_on_any_number_of_ranks_are_those_of_the_whole(
    count: int,
    columns: int,
    ranks: int,
    rounds: int,
    dtype: torch.dtype,
    name: str,
    settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shrink_blocks(monkeypatch, 64)  # a multiple of what a processor computes at once, as the real width is
    whole = build_for(count, name, settings)
    distributed, last = AggregatorOnRanks(whole, ranks), None
    for number, rows in enumerate(tricky_rounds(rounds, count, columns, dtype)):
        context = full_context(count, columns, number, last)
        found = distributed(rows, context)
        last = whole(rows, context)
        assert torch.equal(found, last)
        assert_same(distributed.diagnostics, whole.diagnostics)
        assert_same(distributed.state_dict(), whole.state_dict())


@pytest.mark.parametrize("name", available_aggregators())
def test_every_aggregator_is_shardable_and_a_step_of_its_own_inherits_no_promise(name: str) -> None:
    rule = build_aggregator(name)
    assert rule.shardable, "see CONTRIBUTING.md"

    class Own(type(rule)):  # type: ignore[misc]
        def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
            return updates.mean()

    class Renamed(type(rule)):  # type: ignore[misc]
        """No step of its own."""

    class Promised(Own):
        shardable = True

        def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
            return updates.mean()

    assert [cls().shardable for cls in (Own, Renamed, Promised)] == [False, True, True]


def test_a_step_made_of_the_whole_tensor_is_cut_to_the_columns_of_a_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gathering(Aggregator):
        def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
            return updates.tensor().sort(dim=1).values.mean(0)

    shrink_blocks(monkeypatch, 64)
    rows = random_rows(5, 150)
    assert not Gathering.shardable
    assert torch.equal(AggregatorOnRanks(Gathering(), 4)(rows), Gathering()(rows))


def test_a_method_made_of_others_is_shardable_if_all_of_them_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def shardable() -> list[bool]:
        pool = build_aggregator("robust_tailor", pool=["cwmed", "krum"], attacks=["ipm", "alie"])
        behind = Defence(build_aggregator("krum"), [pre_aggregators.build("nnm")])
        return [pool.shardable, build_aggregator("detox", inner="krum").shardable, behind.shardable]

    assert shardable() == [True, True, True]
    for component, expected in [
        (aggregators.get("cwmed"), [False, True, True]),
        (attacks.get("alie"), [False, True, True]),
        (aggregators.get("krum"), [False, False, False]),
        (pre_aggregators.get("nnm"), [True, True, False]),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(component, "shardable", False)
            assert shardable() == expected


@every_aggregator
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_step_is_one_row_of_the_same_dtype(name: str, settings: dict[str, Any], dtype: torch.dtype) -> None:
    for shape in [(1, 1), (1, 5), (2, 1), (2, 5), (3, 1), (5, 77)]:
        step = run(build_for(shape[0], name, settings), random_rows(*shape).to(dtype))
        assert step.shape == (shape[1],)
        assert step.dtype == dtype
        assert bool(step.isfinite().all())


@every_aggregator
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_inputs_are_never_changed(name: str, settings: dict[str, Any], count: int, dtype: torch.dtype) -> None:
    rows = random_rows(count, 77).to(dtype)
    before = rows.clone()
    aggregator = build_for(count, name, settings)
    for _ in range(2):
        run(aggregator, rows).fill_(123.0)  # the step is the caller's own memory
    assert torch.equal(rows, before)


@every_aggregator
@pytest.mark.parametrize("count", [2, 5, 6, 33, 40, 50])
def test_the_order_of_the_clients_does_not_matter(name: str, settings: dict[str, Any], count: int) -> None:
    ids = [3 * client + 1 for client in range(count)]
    one, other = (build_for(count, name, settings) for _ in range(2))
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
    step = run(build_for(count, name, settings), row.expand(count, -1))
    if name in KEEPS_A_COMMON_ROW:
        assert torch.equal(step, row[0])
    else:
        assert bool(step.any())
        assert bool(((step == 0) | (step.sign() == row[0].sign())).all())


@every_aggregator
@pytest.mark.parametrize("count", [1, 2, 5, 40])
def test_zero_rows_give_a_zero_step(name: str, settings: dict[str, Any], count: int) -> None:
    aggregator = build_for(count, name, settings)
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
def test_without_a_usable_row_the_step_is_zero_and_the_state_unchanged(
    name: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_blocks(monkeypatch, 16)
    aggregator = build_for(3, name, settings)
    run(aggregator, random_rows(3, 77))
    before = copy.deepcopy(aggregator.state_dict())
    with pytest.warns(FedsimWarning, match=r"\[5, 6, 7\]"):
        step = run(aggregator, torch.full((3, 77), torch.nan), [7, 6, 5])
    assert torch.equal(step, torch.zeros(77))
    assert_same(aggregator.state_dict(), before)
    distributed = AggregatorOnRanks(aggregator, 3)  # each with the state of the whole
    bad = torch.zeros(3, 77)
    bad[:, 40] = torch.inf  # which one rank alone holds
    assert torch.equal(distributed(bad, context_of([7, 6, 5])), torch.zeros(77))
    for rank in distributed.ranks:
        assert_same(rank.state_dict(), before)


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

    with pytest.raises(ValueError, match=r"'wrong' .* aggregate returned a step of shape \[3, 4\], not \[4\]"):
        Wrong()(torch.ones(3, 4))
