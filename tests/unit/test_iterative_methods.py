"""RFA, Huber, the centered clippings and FedNGA against plain float64 iterations over all D coordinates."""

import io
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import byzfl
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from fedsim.aggregators import Aggregator, RoundContext, build_aggregator
from fedsim.errors import ConfigError
from fedsim.updates.affine_iteration import AffineIterate
from fedsim.updates.matrix import BLOCK, UpdateMatrix
from fedsim.updates.sharded import ColumnShards
from support.references import random_rows

WIDER = 3 * BLOCK + 849
"""Four blocks, so three shards."""

Step = Callable[..., Tensor]


def context_of(ids: Sequence[int], number: int = 0, dropped: int = 0) -> RoundContext:
    generator = torch.Generator().manual_seed(number)
    return RoundContext(round=number, client_ids=tuple(ids), dropped=dropped, generator=generator)


def assert_near(found: Tensor, expected: Tensor, rtol: float, atol: float = 0.0) -> None:
    """Relative to the length of what is expected."""
    error = float((found.double() - expected).norm())
    assert error <= rtol * float(expected.norm()) + atol, (error, float(expected.norm()))


# The definitions, in D-space and float64 -----------------------------------------------------------


def plain_rfa(rows: Tensor, iterations: int = 3, smoothing: float = 1e-6) -> Tensor:
    g, v = rows.double(), torch.zeros(rows.shape[1], dtype=torch.float64)
    for _ in range(iterations):
        w = 1 / (g - v).norm(dim=1).clamp(min=smoothing)
        v = (w[:, None] * g).sum(0) / w.sum()
    return v


def plain_huber(
    rows: Tensor,
    threshold: float = 0.02,
    iterations: int = 100,
    tolerance: float = 1e-3,
    smoothing: float = 1e-6,
) -> Tensor:
    g, c = rows.double(), torch.zeros(rows.shape[1], dtype=torch.float64)
    for _ in range(iterations):
        w = (threshold / (g - c).norm(dim=1).clamp(min=smoothing)).clamp(max=1)
        before, c = c, (w[:, None] * g).sum(0) / w.sum()
        if float((c - before).norm()) < tolerance:
            break
    return c


def plain_clip(v: Tensor, g: Tensor, radius: float | str, everybody: Tensor) -> Tensor:
    """One step v + mean(clip(g_k - v)); torch.median is the lower one."""
    tau = float((everybody - v).norm(dim=1).median()) if radius == "auto" else float(radius)
    lengths = (g - v).norm(dim=1, keepdim=True)
    return v + torch.where(lengths > tau, (g - v) * (tau / lengths), g - v).mean(0)


def plain_clipping(rows: Tensor, v: Tensor | None = None, radius: float | str = 100.0, iterations: int = 3) -> Tensor:
    g = rows.double()
    v = torch.zeros_like(g[0]) if v is None else v.double()
    for _ in range(iterations):
        v = plain_clip(v, g, radius, g)
    return v


def plain_fednga(rows: Tensor) -> Tensor:
    g = rows.double()
    return sum(row / float(row.norm()) if bool(row.any()) else row for row in g) / len(g)


PLAIN: dict[str, Step] = {
    "rfa": plain_rfa,
    "huber": plain_huber,
    "centered_clipping": plain_clipping,
    "fednga": plain_fednga,
}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("rfa", {}),
    ("rfa", {"iterations": 15}),
    ("rfa", {"smoothing": 3.0}),
    ("huber", {}),
    ("huber", {"threshold": 5.0, "tolerance": 1e-9}),
    ("huber", {"threshold": 8.0, "iterations": 2}),
    ("huber", {"threshold": 1e6}),
    ("huber", {"threshold": 0.5, "smoothing": 6.0}),
    ("centered_clipping", {}),
    ("centered_clipping", {"radius": 4.0}),
    ("centered_clipping", {"radius": 0.5, "iterations": 10}),
    ("centered_clipping", {"radius": "auto"}),
    ("fednga", {}),
]
case = pytest.mark.parametrize(("name", "settings"), CASES)
SHARED = [
    *CASES,
    ("cc_random_bucketing", {"radius": 4.0}),
    ("cc_sequential_bucketing", {"radius": 4.0}),
    ("cc_random_bucketing", {"radius": "auto", "bucket_size": 3}),
    ("cc_sequential_bucketing", {"radius": "auto", "bucket_size": 3, "iterations": 2}),
]
every_case = pytest.mark.parametrize(("name", "settings"), SHARED)


@case
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2, 1), (2, 50), (3, 50), (7, 1), (8, 101), (33, 20)])
def test_step_equals_the_plain_iteration(name: str, settings: dict[str, Any], shape: tuple[int, int]) -> None:
    rows = random_rows(*shape, seed=1)
    rows[rows.shape[0] // 2] *= 30
    expected = PLAIN[name](rows, **settings)
    rounding = 1e-15 * float(rows.norm())
    assert_near(build_aggregator(name, **settings)(rows), expected, 1e-6, rounding)
    assert_near(build_aggregator(name, **settings)(rows.double()), expected, 1e-10, rounding)


@case
@pytest.mark.parametrize("place", [0, 3, 6])
def test_a_row_at_1e20_does_no_harm(name: str, settings: dict[str, Any], place: int) -> None:
    """Its weight of about 1e-20 times its length counts as much as any other row."""
    honest = 1e-3 * random_rows(6, 301)
    rows = torch.cat([honest[:place], torch.full((1, 301), -1e20), honest[place:]])
    expected = PLAIN[name](rows, **settings)
    assert float(expected.norm()) < 1e7
    assert_near(build_aggregator(name, **settings)(rows), expected, 1e-6)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("rfa", {"iterations": 30, "smoothing": 1e-12}),
        ("huber", {"threshold": 2e-7, "smoothing": 1e-12, "tolerance": 0.0}),
        ("centered_clipping", {"radius": 3e-6, "iterations": 2}),
        ("centered_clipping", {"radius": "auto", "iterations": 9}),
    ],
)
def test_rows_that_differ_in_the_seventh_digit(name: str, settings: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    base = 1 + torch.rand(301, generator=generator, dtype=torch.float64)
    rows = base + 1e-7 * torch.randn(7, 301, generator=generator, dtype=torch.float64) * torch.arange(1, 8)[:, None]
    aggregator = build_aggregator(name, **settings)
    before: Tensor | None = None
    for _ in range(2):
        expected = PLAIN[name](rows, *([before] if name == "centered_clipping" else []), **settings)
        step = aggregator(rows)
        assert_near(step, expected, 1e-12)
        if name != "centered_clipping":
            assert_near(step - base, expected - base, 1e-6)
        before = expected


def test_a_median_that_nearly_coincides_with_a_row_is_reached_as_by_the_plain_iteration() -> None:
    """The distance to the middle row is a difference of products that agree in all their digits."""
    generator = torch.Generator().manual_seed(3)
    a, b, tilt = torch.randn(3, 200, generator=generator, dtype=torch.float64)
    crossing = torch.stack([a, -a, 2 * b, -2 * b])
    for gap in (1e-3, 1e-6, 1e-8, 1e-10):
        rows = torch.cat([crossing, gap * tilt[None]]) + 3.0
        for iterations in (2, 3, 6):
            expected = plain_rfa(rows, iterations, smoothing=1e-13)
            step = build_aggregator("rfa", iterations=iterations, smoothing=1e-13)(rows)
            tolerance = 1e-6 * float((expected - 3).norm()) + 1e-13
            assert float((step - expected).norm()) < tolerance, (gap, iterations)


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("gap", [1e-2, 1e-5, 1e-9])
def test_distances_that_cancel_are_right(gap: float, offset: float) -> None:
    """The point is near the last row, because the others balance around it."""
    generator = torch.Generator().manual_seed(4)
    a, b, tilt = torch.randn(3, 200, generator=generator, dtype=torch.float64)
    rows = torch.stack([a, -a, 2 * b, -2 * b, gap * tilt]) + offset
    weights = torch.tensor([0.5, 0.5, 0.1, 0.1, 0.0], dtype=torch.float64)
    expected = [((weights / weights.sum())[:, None] * (rows - row)).sum(0).norm() for row in rows]
    for shards in (1, 2):
        iterate = AffineIterate(ColumnShards.cut(torch.cat([rows, torch.zeros(5, BLOCK)], dim=1), shards))
        iterate.move_to_mean(weights)
        torch.testing.assert_close(iterate.distances(), torch.stack(expected), rtol=1e-6, atol=0)


def test_a_distance_is_right_where_one_row_has_nearly_all_the_weight() -> None:
    rows = random_rows(2, 77).double() + 3
    iterate = AffineIterate(UpdateMatrix(rows))
    iterate.move_to_mean(torch.tensor([1.0, 1e-10], dtype=torch.float64))
    assert float(iterate.distances()[0]) == pytest.approx(1e-10 * float((rows[1] - rows[0]).norm()), rel=1e-9, abs=0)


def test_an_iterate_follows_its_moves() -> None:
    rows = random_rows(5, 77).double()
    start = random_rows(1, 77, seed=8)[0].double()
    iterate, v = AffineIterate(UpdateMatrix(rows), start), start
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        shares = torch.rand(5, generator=generator, dtype=torch.float64) / 5
        before, v = v, v + shares @ (rows - v)
        iterate.step_towards(shares)
        torch.testing.assert_close(iterate.distances(), (rows - v).norm(dim=1), rtol=1e-12, atol=0)
        torch.testing.assert_close(iterate.point(), v, rtol=1e-12, atol=1e-14)
        assert iterate.last_move() == pytest.approx(float((v - before).norm()), rel=1e-12)
    iterate.move_to_mean(torch.ones(5))
    torch.testing.assert_close(iterate.point(), rows.mean(0), rtol=1e-12, atol=1e-14)


# Against other solvers -----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [4, 7, 10])
def test_rfa_with_many_iterations_is_the_geometric_median(count: int) -> None:
    rows = random_rows(count, 6, seed=count).double() + 1
    rows[0] *= 50
    solved = minimize(
        lambda x: float((rows - torch.from_numpy(x)).norm(dim=1).sum()),
        rows.median(dim=0).values.numpy(),
        jac=lambda x: (
            ((torch.from_numpy(x) - rows) / (rows - torch.from_numpy(x)).norm(dim=1, keepdim=True)).sum(0).numpy()
        ),
        method="BFGS",
        options={"gtol": 1e-9},
    )
    step = build_aggregator("rfa", iterations=2000)(rows)
    assert_near(step, torch.from_numpy(solved.x), 1e-6)
    pulls = (rows - step) / (rows - step).norm(dim=1, keepdim=True)
    assert float(pulls.sum(0).norm()) < 1e-6  # the condition of the optimum


@pytest.mark.parametrize("threshold", [0.5, 2.0, 4.0, 100.0])
def test_huber_minimises_the_huber_loss(threshold: float) -> None:
    rows = random_rows(8, 6, seed=1).double() + 1
    rows[3] *= 20

    def loss(x: Any) -> float:
        d = (rows - torch.from_numpy(x)).norm(dim=1)
        return float(torch.where(d <= threshold, d.square() / 2, threshold * (d - threshold / 2)).sum())

    options = {"xatol": 1e-9, "fatol": 1e-14, "maxiter": 20_000, "maxfev": 20_000, "adaptive": True}
    solved = minimize(loss, rows.median(dim=0).values.numpy(), method="Nelder-Mead", options=options)
    step = build_aggregator("huber", threshold=threshold, iterations=5000, tolerance=1e-12)(rows)
    assert_near(step, torch.from_numpy(solved.x), 1e-5)
    assert loss(step.numpy()) <= solved.fun * (1 + 1e-10)


def test_rfa_equals_byzfl() -> None:
    rows = random_rows(9, 50).double() + 1
    for iterations in (1, 3, 8):
        theirs = byzfl.GeometricMedian(nu=1e-6, T=iterations)(rows)
        assert_near(build_aggregator("rfa", iterations=iterations)(rows), theirs, 1e-6)


def test_centered_clipping_equals_byzfl_over_rounds() -> None:
    ours = build_aggregator("centered_clipping", radius=5.0, iterations=4)
    theirs = byzfl.CenteredClipping(L=4, tau=5.0)
    for seed in range(4):
        rows = random_rows(9, 50, seed=seed).double() + 1
        assert_near(ours(rows), theirs(rows), 1e-6)


def test_huber_between_a_mean_and_a_median() -> None:
    rows = random_rows(6, 20) + 1
    assert_near(build_aggregator("huber", threshold=1e9, tolerance=0.0)(rows), rows.double().mean(0), 1e-6)
    nearly = build_aggregator("huber", threshold=1e-3, tolerance=0.0, iterations=500)(rows)
    assert_near(nearly, build_aggregator("rfa", iterations=500)(rows).double(), 1e-6)


def test_huber_stops_when_it_hardly_moves() -> None:
    rows = random_rows(6, 20) + 1
    for tolerance in (10.0, 0.1, 1e-3, 1e-6):
        huber = build_aggregator("huber", tolerance=tolerance)
        huber(rows)
        steps = int(huber.diagnostics.scalars["iterations"])
        path = [torch.zeros(20, dtype=torch.float64)]
        path += [plain_huber(rows, iterations=n, tolerance=0.0) for n in range(1, steps + 1)]
        moves = [float((after - before).norm()) for before, after in pairwise(path)]
        assert moves[-1] < tolerance
        assert all(move >= tolerance for move in moves[:-1])


# Hand-made numbers ---------------------------------------------------------------------------------


def test_fednga_counts_a_zero_row() -> None:
    rows = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, -7e19], [1e-20, 0.0]])
    torch.testing.assert_close(build_aggregator("fednga")(rows), torch.tensor([0.4, -0.05]))
    assert torch.equal(build_aggregator("fednga")(torch.zeros(2, 3)), torch.zeros(3))


def test_weights_are_reported() -> None:
    """Seen from zero, the rows are 1, 2 and 4 away."""
    rfa = build_aggregator("rfa", iterations=1)
    rfa(torch.tensor([[1.0], [2.0], [4.0]]))
    assert rfa.diagnostics.trust is not None
    assert rfa.diagnostics.trust.tolist() == pytest.approx([1.0, 0.5, 0.25])
    assert rfa.diagnostics.per_client["weight"].tolist() == pytest.approx([4 / 7, 2 / 7, 1 / 7])


def test_the_clipped_share_is_reported() -> None:
    rows = torch.tensor([[1.0], [3.0], [5.0], [-90.0]])
    clipping = build_aggregator("centered_clipping", radius=2.0, iterations=1)
    assert clipping(rows).item() == pytest.approx(0.75)  # 1 + 2 + 2 - 2 by four
    assert clipping.diagnostics.scalars["clipped_share"] == 0.75
    assert clipping.diagnostics.trust is not None
    assert clipping.diagnostics.trust.tolist() == pytest.approx([1, 2 / 3, 0.4, 2 / 90])
    unbound = build_aggregator("centered_clipping")
    unbound(rows)
    assert unbound.diagnostics.scalars["clipped_share"] == 0


def test_radius_auto_is_the_lower_median_of_the_distances() -> None:
    """Distances 1, 3, 5 and 90: each row pulls by at most 3."""
    clipping = build_aggregator("centered_clipping", radius="auto", iterations=1)
    assert clipping(torch.tensor([[1.0], [3.0], [5.0], [-90.0]])).item() == pytest.approx((1 + 3 + 3 - 3) / 4)
    most_are_there = build_aggregator("centered_clipping", radius="auto")
    assert most_are_there(torch.tensor([[0.0], [0.0], [7.0]])).item() == 0


# State and rounds ----------------------------------------------------------------------------------


def test_the_reference_carries_over_rounds_with_changing_clients() -> None:
    clipping, v = build_aggregator("centered_clipping", radius=6.0), None
    for number, clients in enumerate([[0, 1, 2, 3], [5], [2, 9, 4, 1, 0, 7], [3, 1]]):
        rows = random_rows(len(clients), 60, seed=number) + 1
        v = plain_clipping(rows, v, radius=6.0)
        step = clipping(rows, context_of(clients, number))
        assert_near(step, v, 1e-6)
        step.fill_(123.0)  # the step is the caller's own memory


@pytest.mark.parametrize("name", ["centered_clipping", "cc_random_bucketing", "cc_sequential_bucketing"])
def test_a_saved_reference_continues_with_the_same_bits(name: str) -> None:
    settings = {"radius": 3.0}
    rounds = [random_rows(7, 60, seed=seed) + 1 for seed in range(4)]
    ongoing = build_aggregator(name, **settings)
    assert ongoing.state_dict() == {}
    for number in range(2):
        ongoing(rounds[number], context_of(range(7), number))
    file = io.BytesIO()
    torch.save(ongoing.state_dict(), file)
    file.seek(0)
    resumed = build_aggregator(name, **settings)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for number in (2, 3):
        context = context_of(range(7), number)
        expected = ongoing(rounds[number], context)
        assert torch.equal(resumed(rounds[number], context_of(range(7), number)), expected)
        fresh = build_aggregator(name, **settings)(rounds[number], context_of(range(7), number))
        assert not torch.allclose(fresh, expected)


# Buckets -------------------------------------------------------------------------------------------


def buckets_of(aggregator: Aggregator) -> list[list[int]]:
    """Rows with the same clip factor, where no two buckets are equally far."""
    found: dict[float, list[int]] = {}
    for row, factor in enumerate(aggregator.diagnostics.per_client["clip_factor"].tolist()):
        found.setdefault(factor, []).append(row)
    return list(found.values())


@pytest.mark.parametrize("huge", [1.0, 1e20])
@pytest.mark.parametrize(("count", "size"), [(1, 2), (2, 2), (5, 1), (5, 2), (6, 2), (7, 3), (4, 9)])
def test_random_buckets_are_averaged_before_clipping(count: int, size: int, huge: float) -> None:
    """The factors tell the buckets; all else is recomputed from these."""
    drawn = set()
    for number in range(4):
        rows = random_rows(count, 40, seed=number) + 5 * torch.arange(1, count + 1)[:, None]
        rows[-1] *= huge
        clipping = build_aggregator("cc_random_bucketing", bucket_size=size, radius=0.7, iterations=2)
        step = clipping(rows, context_of(range(count), number))
        buckets = buckets_of(clipping)
        sizes = sorted((len(bucket) for bucket in buckets), reverse=True)
        assert sizes == [size] * (count // size) + [count % size] * (count % size > 0)
        means = torch.stack([rows[bucket].double().mean(0) for bucket in buckets])
        assert_near(step, plain_clipping(means, radius=0.7, iterations=2), 1e-6)
        drawn.add(str(sorted(map(sorted, buckets))))
    assert (len(drawn) > 1) == (1 < size < count)  # redrawn each round


def test_buckets_of_one_change_nothing() -> None:
    rows = random_rows(6, 40) + 1
    for name in ("cc_random_bucketing", "cc_sequential_bucketing"):
        alone = build_aggregator(name, bucket_size=1, radius="auto", iterations=1)(rows, context_of(range(6)))
        plain = plain_clipping(rows, radius="auto", iterations=1)
        if name == "cc_random_bucketing":
            assert_near(alone, plain, 1e-6)
        else:  # each row moves v before the next is read
            assert float((alone - plain).norm()) > 1e-3


def plain_sequential(
    rows: Tensor,
    v: Tensor,
    generator: torch.Generator,
    size: int,
    radius: float | str,
    iterations: int,
    ids: Sequence[int],
) -> tuple[Tensor, list[list[int]]]:
    """The rule in D-space: order, strata, buckets, and v through one bucket after the other."""
    g, by_id = rows.double(), sorted(range(len(rows)), key=ids.__getitem__)

    def shuffled(members: list[int]) -> list[int]:
        return [members[i] for i in torch.randperm(len(members), generator=generator).tolist()]

    if bool(v.any()):
        cosine = [float(row @ v / (row.norm() * v.norm())) if bool(row.any()) else 0.0 for row in g]
        order = sorted(by_id, key=lambda row: round(cosine[row], 12))
    else:
        order = shuffled(by_id)
    length = (len(g) + size - 1) // size
    strata: list[list[int]] = []
    while order:
        strata.append(shuffled(order[:length]))
        order = order[length:]
    buckets = []
    for i in range(length):
        buckets.append([stratum[i] for stratum in strata if i < len(stratum)])
        for _ in range(iterations):
            v = plain_clip(v, g[buckets[-1]], radius, g)
    return v, buckets


@pytest.mark.parametrize("huge", [1.0, 1e20])
@pytest.mark.parametrize(
    ("count", "size", "radius", "iterations"),
    [
        (1, 2, 2.0, 1),
        (2, 2, 2.0, 1),
        (5, 2, 3.0, 1),
        (6, 2, "auto", 2),
        (7, 3, 3.0, 2),
        (9, 4, 100.0, 1),
        (3, 9, 1.0, 1),
    ],
)
def test_sequential_buckets_in_order_of_cosine(
    count: int, size: int, radius: float | str, iterations: int, huge: float
) -> None:
    clipping = build_aggregator("cc_sequential_bucketing", bucket_size=size, radius=radius, iterations=iterations)
    v = torch.zeros(40, dtype=torch.float64)
    ids = [(5 * client + 3) % 11 for client in range(count)]
    for number in range(4):
        rows = random_rows(count, 40, seed=number) + 0.5
        if count > 2:
            rows[1] = rows[2]  # equal cosines
            rows[0] = 0
            rows[-1] *= huge
        v, buckets = plain_sequential(rows, v, context_of(ids, number).randomness(), size, radius, iterations, ids)
        assert sorted(row for bucket in buckets for row in bucket) == list(range(count))
        assert max(map(len, buckets)) <= size
        assert_near(clipping(rows, context_of(ids, number)), v, 1e-6)


def test_each_sequential_bucket_has_a_client_of_each_stratum() -> None:
    """Second round, one step per bucket: three of six rows point along v, three against it."""
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [-1.0, 0.0], [-1.0, 0.1], [-1.0, 0.2]])
    settings = {"bucket_size": 2, "radius": 1e-4}
    for number in range(6):
        clipping = build_aggregator("cc_sequential_bucketing", **settings)
        clipping.load_state_dict({"reference": torch.tensor([5.0, 0.0])})
        step = clipping(rows, context_of(range(6), number))
        # Every pull has length 1e-4 and hardly differs in direction: a bucket moves v by about 1e-4.
        torch.testing.assert_close(step, torch.tensor([5.0 - 3e-4, 0.0]), rtol=0, atol=2e-5)


def test_equal_cosines_are_ordered_by_client_id_not_by_rounding() -> None:
    """Multiples of one row have one cosine, which floating-point sums give only to fifteen digits."""
    row, other = random_rows(2, 3001).double()
    rows = torch.outer(torch.tensor([1.0, 3.0, 0.7, 11.0, 0.013], dtype=torch.float64), row)
    ids = [4, 2, 9, 1, 7]
    for order in ([0, 1, 2, 3, 4], [3, 0, 4, 2, 1], [4, 3, 2, 1, 0]):
        for number in range(4):
            clipping = build_aggregator("cc_sequential_bucketing", radius=20.0)
            clipping.load_state_dict({"reference": row + other})
            context = context_of([ids[place] for place in order], number)
            step = clipping(rows[order], context)
            randomness = context_of(range(5), number).randomness()
            v, _ = plain_sequential(rows[order], row + other, randomness, 2, 20.0, 1, context.client_ids)
            assert_near(step, v, 1e-6)


def test_while_the_reference_is_zero_the_order_is_random() -> None:
    rows = random_rows(6, 40) + 1
    steps = set()
    for number in range(4):
        fresh, zero = (build_aggregator("cc_sequential_bucketing", radius=2.0) for _ in range(2))
        zero.load_state_dict({"reference": torch.zeros(40)})
        step = fresh(rows, context_of(range(6), number))
        assert torch.equal(zero(rows, context_of(range(6), number)), step)
        steps.add(float(step[0]))
    assert len(steps) > 1


# What all of them share ----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "settings"), [SHARED[1], SHARED[4], *SHARED[-6:]])
def test_whole_and_shards_agree_over_rounds(name: str, settings: dict[str, Any]) -> None:
    whole, cut = (build_aggregator(name, **settings) for _ in range(2))
    for number in range(2):
        rows = random_rows(5, WIDER, seed=number)
        step = whole(rows, context_of(range(5), number))
        shards = ColumnShards.cut(rows, 3)
        assert len(shards._shards) == 3
        assert_near(cut(shards, context_of(range(5), number)), step.double(), 1e-6)


@every_case
def test_permuted_clients_give_the_same_step_in_every_round(name: str, settings: dict[str, Any]) -> None:
    one, other = (build_aggregator(name, **settings) for _ in range(2))
    ids = [7, 2, 30, 4, 11, 5, 0]
    for number in range(4):
        rows = random_rows(7, 90, seed=number) * (1 + torch.arange(7))[:, None]
        order = torch.randperm(7, generator=torch.Generator().manual_seed(number)).tolist()
        step = one(rows, context_of(ids, number))
        again = other(rows[order], context_of([ids[row] for row in order], number))
        assert_near(again, step.double(), 1e-6)
        assert one.diagnostics.trust is None or torch.allclose(
            one.diagnostics.trust[order], other.diagnostics.trust, rtol=1e-6
        )


@every_case
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("columns", [1, 40])
def test_zero_and_identical_rows(name: str, settings: dict[str, Any], count: int, columns: int) -> None:
    aggregator = build_aggregator(name, **settings)
    zeros = torch.zeros(count, columns)
    for number in range(2):
        assert torch.equal(aggregator(zeros, context_of(range(count), number)), zeros[0])
    row = 1 + random_rows(1, columns).abs()
    step = aggregator(row.expand(count, -1), context_of(range(count), 2))
    factor = float(step.norm() / row.norm())
    assert factor > 0
    torch.testing.assert_close(step, factor * row[0])  # nothing but a multiple
    if name != "fednga" and "radius" not in settings:
        assert factor == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("rfa", "iterations", 0),
        ("rfa", "smoothing", 0.0),
        ("huber", "threshold", 0.0),
        ("huber", "threshold", "automatic"),
        ("huber", "tolerance", -1.0),
        ("centered_clipping", "radius", 0.0),
        ("centered_clipping", "radius", "automatic"),
        ("centered_clipping", "iterations", 0),
        ("cc_random_bucketing", "bucket_size", 0),
        ("cc_sequential_bucketing", "bucket_size", 0),
        ("cc_sequential_bucketing", "radius", -1.0),
    ],
)
def test_impossible_settings_are_rejected(name: str, setting: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        build_aggregator(name, **{setting: value})
    assert caught.value.key == setting
