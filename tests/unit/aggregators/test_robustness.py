"""What each defence promises, for every entry of the registry at once: a new one is tested without being listed.

Updates have length about ``LENGTH``, the length at which centered clipping's default radius makes sense.
Distances are given in typical distances of an honest update from the honest mean.
"""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import Aggregator, available_aggregators, build_aggregator
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.updates.context import RoundContext
from fedsim.updates.layout import RowLayout

HONEST, BYZANTINE, COLUMNS, LENGTH = 9, 2, 2000, 100.0
LAYOUT = RowLayout({"first": (40, 40), "second": (20, 15), "bias": (100,)})
NOT_ROBUST = {"fedavg", "ties"}
"""TIES elects signs but averages unbounded values: a merging method, no defence against length."""
BY_DIRECTION = {"fedseca", "ties", "signsgd_mv", "election_coding", "fednga"}
"""These keep the direction of the updates, not their length."""
ROUNDS_BEFORE = {"fldetector": 12}
"""Rounds that a method watches before it judges."""

NOT_TRANSLATED = BY_DIRECTION | {
    "rfa", "huber", "centered_clipping", "cc_random_bucketing", "cc_sequential_bucketing",  # start at zero
    "lasa", "signguard", "rffl", "copod_dos", "fldetector", "robust_tailor", "detox",  # look at signs, norms, angles
}  # fmt: skip
NOT_SCALED = {
    "huber", "rfa", "centered_clipping", "cc_random_bucketing", "cc_sequential_bucketing",  # a length of their own
    "fednga", "copod_dos", "robust_tailor",
}  # fmt: skip

every_aggregator = pytest.mark.parametrize("name", list(available_aggregators()))


def all_but(exempt: set[str]) -> pytest.MarkDecorator:
    """Every entry of the registry except those that do not promise what the test asks."""
    return pytest.mark.parametrize("name", [name for name in available_aggregators() if name not in exempt])


def honest_updates(seed: int, count: int = HONEST) -> Tensor:
    """Updates around a common direction; a typical one is one unit of spread away from their mean."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(COLUMNS, generator=generator)
    noise = torch.randn(count, COLUMNS, generator=generator)
    return (direction + 0.5 * noise) * (LENGTH / math.sqrt(1.25 * COLUMNS))


def context(round_index: int, ids: range | list[int], last_step: Tensor | None) -> RoundContext:
    return RoundContext(
        round=round_index,
        client_ids=tuple(ids),
        layout=LAYOUT,
        last_step=last_step,
        generator=torch.Generator().manual_seed(round_index),
    )


def build(name: str, num_byzantine: int) -> Aggregator:
    """The method, with the true number of Byzantine clients where it needs that."""
    knows = "num_byzantine" in available_aggregators()[name].settings
    return build_aggregator(name, **({"num_byzantine": num_byzantine} if knows else {}))


def run_rounds(name: str, byzantine: int, attack: float) -> tuple[Tensor, Tensor]:
    """The step of the last round, and the honest updates of that round."""
    aggregator, step = build(name, byzantine), None
    generator = torch.Generator().manual_seed(7)
    aim = torch.randn(COLUMNS, generator=generator)
    for round_index in range(1 + ROUNDS_BEFORE.get(name, 0)):
        honest = honest_updates(seed=round_index)
        hostile = attack * aim * torch.rand(byzantine, 1, generator=generator).add(0.5)
        rows = torch.cat([honest[:4], hostile, honest[4:]])
        step = aggregator(rows, context(round_index, range(len(rows)), step))
    assert step is not None
    return step, honest


def spread(rows: Tensor) -> float:
    return float((rows - rows.mean(0)).norm(dim=1).mean())


def test_every_layout_column_is_covered() -> None:
    assert LAYOUT.size == COLUMNS


@every_aggregator
def test_without_attackers_the_step_stays_near_the_mean(name: str) -> None:
    step, honest = run_rounds(name, byzantine=0, attack=0)
    mean = honest.mean(0)
    if name in BY_DIRECTION:
        assert float(torch.cosine_similarity(step, mean, dim=0)) > 0.5
    else:
        assert float((step - mean).norm()) <= 1.2 * spread(honest)


@every_aggregator
def test_outliers_at_a_million_do_not_carry_the_step_away(name: str) -> None:
    step, honest = run_rounds(name, BYZANTINE, attack=1e6)
    mean = honest.mean(0)
    error = float((step - mean).norm())
    if name in NOT_ROBUST:
        assert error > 1e4 * spread(honest)
    elif name in BY_DIRECTION:
        assert float(torch.cosine_similarity(step, mean, dim=0)) > 0.4
        assert float(step.norm()) <= 2 * LENGTH
    else:
        assert error <= 3 * spread(honest)


@all_but(NOT_ROBUST | NOT_SCALED | set(ROUNDS_BEFORE))  # these let a share of every row through
def test_one_row_at_1e20_beside_rows_at_1e_3_leaves_no_trace_in_rounding(name: str) -> None:
    """A row that is left out must not cost the others their digits: the step equals that at a row of 1e10."""
    rows = honest_updates(0) * 1e-5
    steps = []
    for size in (1e10, 1e20):
        hostile = torch.randn(COLUMNS, generator=torch.Generator().manual_seed(3)) * size
        ids = range(HONEST + 1)
        steps.append(build(name, 1)(torch.cat([rows, hostile[None]]), context(0, ids, None)))
    torch.testing.assert_close(steps[1], steps[0], rtol=1e-5, atol=1e-5 * float(rows.abs().max()))


@all_but(NOT_TRANSLATED)
def test_translation_moves_the_step_along(name: str) -> None:
    rows = honest_updates(0)
    shift = torch.randn(COLUMNS, generator=torch.Generator().manual_seed(5))
    ids = range(HONEST)
    step, moved = (build(name, 1)(rows + by, context(0, ids, None)) for by in (0 * shift, shift))
    torch.testing.assert_close(moved, step + shift, rtol=1e-4, atol=1e-4)


@all_but(NOT_SCALED)
def test_scaling_scales_the_step(name: str) -> None:
    rows, ids = honest_updates(0), range(HONEST)
    step, scaled = (build(name, 1)(rows * by, context(0, ids, None)) for by in (1.0, 0.25))
    torch.testing.assert_close(scaled, 0.25 * step, rtol=1e-4, atol=1e-5)


@every_aggregator
def test_rows_that_differ_only_in_the_seventh_digit_give_a_step_among_them(name: str) -> None:
    base = honest_updates(0, count=1)
    noise = torch.randn(7, COLUMNS, generator=torch.Generator().manual_seed(1))
    rows = base * (1 + 1e-7 * noise)
    step = build(name, 1)(rows, context(0, range(7), None))
    if name in BY_DIRECTION:
        assert bool(((step == 0) | (step.sign() == base[0].sign())).all())
    elif name not in {"rfa", "huber", "lasa"}:  # from zero, not all the way; sparse
        torch.testing.assert_close(step, base[0], rtol=2e-6, atol=0)
    assert bool(step.isfinite().all())


@every_aggregator
def test_clients_that_come_and_go_are_not_mixed_up(name: str) -> None:
    """Over rounds with different clients present, the order of the rows decides nothing."""
    one, other = build(name, 1), build(name, 1)
    present = [range(8), [1, 2, 3, 5, 6, 7], [0, 2, 3, 4, 6], range(8), [7, 6, 5, 4, 3, 2, 1, 0]]
    steps: list[Tensor | None] = [None, None]
    for round_index, ids in enumerate(present):
        clients = list(ids)
        rows = honest_updates(round_index, count=8)
        order = torch.randperm(len(clients), generator=torch.Generator().manual_seed(round_index)).tolist()
        shuffled = [clients[position] for position in order]
        steps = [
            one(rows[clients], replace(context(round_index, clients, steps[0]), dropped=8 - len(clients))),
            other(rows[shuffled], replace(context(round_index, shuffled, steps[1]), dropped=8 - len(clients))),
        ]
        torch.testing.assert_close(steps[0], steps[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "settings"), [("fedavg", {"weighting": "samples"}), ("huber", {"threshold": "auto"})]
)
def test_reported_counts_follow_their_clients_and_are_warned_of(name: str, settings: dict[str, str]) -> None:
    with pytest.warns(FedsimWarning, match="may report any"):
        build_aggregator(name, **settings).check(3)
    rows = torch.tensor([[1.0], [5.0], [torch.nan], [2.0]])
    facts = RoundContext(client_ids=(7, 3, 5, 1), sample_counts=(10, 40, 900, 10))
    kept = [0, 1, 3]
    with pytest.warns(FedsimWarning, match=r"\[5\]"):
        step = float(build_aggregator(name, **settings)(rows, facts))
    if name == "fedavg":
        assert step == pytest.approx((10 * 1 + 40 * 5 + 10 * 2) / 60)
    else:  # the minimum of the sum of Huber losses, each with its own threshold 2 / sqrt(n_k), by a fine grid
        counts = torch.tensor([10.0, 40.0, 10.0], dtype=torch.float64)
        grid = torch.linspace(0, 6, 600_001, dtype=torch.float64)[:, None]
        distance, limit = (grid - rows[kept].double().T).abs(), 2 / counts.sqrt()
        loss = torch.where(distance <= limit, distance.square() / 2, limit * (distance - limit / 2)).sum(1)
        assert step == pytest.approx(float(grid[loss.argmin()]), abs=0.02)
    with pytest.raises(ConfigError, match="sample counts"):
        build_aggregator(name, **settings)(rows[kept])
