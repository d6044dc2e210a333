"""What holds for pre-aggregators, and nearest-neighbour mixing and adaptive clipping by their definitions."""

from collections.abc import Callable

import byzfl
import pytest
import torch
from torch import Tensor

from fedsim.aggregators import RoundContext, build_aggregator
from fedsim.aggregators.defence import Defence
from fedsim.aggregators.pre import pre_aggregators
from fedsim.errors import ConfigError
from fedsim.updates.matrix import UpdateMatrix
from support.aggregation import assert_same, context_of, transform
from support.attack_views import full_context
from support.column_ranks import AggregatorOnRanks, distributed, shrink_blocks, the_same, whole_of
from support.distance_references import arc, nnm
from support.references import random_rows

PRE = list(pre_aggregators.describe())


@pytest.mark.parametrize(("name", "definition"), [("nnm", nnm), ("arc", arc)])
@pytest.mark.parametrize("clients", [1, 2, 3, 4, 6, 7, 10, 25])
def test_mixing_and_adaptive_clipping_equal_the_definition_for_every_f(
    clients: int, name: str, definition: Callable[[Tensor, int], Tensor]
) -> None:
    for f in range((clients - 1) // 2 + 1):
        rows = random_rows(clients, 21, seed=f) * torch.linspace(0.5, 3, clients)[:, None]
        found = transform(pre_aggregators.build(name, num_byzantine=f), rows)
        torch.testing.assert_close(found.double(), definition(rows, f), rtol=1e-6, atol=1e-6)
    left_out = transform(pre_aggregators.build(name), rows)
    assert torch.equal(left_out, found)  # the last f was the largest


def test_pre_aggregators_equal_byzfl() -> None:
    for clients in (5, 9, 14, 20):
        rows = random_rows(clients, 50, seed=clients) * torch.linspace(0.5, 3, clients)[:, None]
        same: list[tuple[str, dict[str, float], Callable[[Tensor], Tensor]]] = []
        for f in range((clients - 1) // 2 + 1):
            same.append(("nnm", {"num_byzantine": f}, byzfl.NNM(f)))
            same.append(("arc", {"num_byzantine": f}, byzfl.ARC(f)))
        same += [("clipping", {"radius": radius}, byzfl.Clipping(radius)) for radius in (0.5, 6.0, 1000.0)]
        for name, settings, theirs in same:
            ours = transform(pre_aggregators.build(name, **settings), rows)
            torch.testing.assert_close(ours, theirs(rows.clone()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["nnm", "arc"])
def test_tolerant_pre_aggregators_refuse_half_and_count_dropped_clients(name: str) -> None:
    rows = random_rows(7, 9) * torch.linspace(0.5, 3, 7)[:, None]
    with pytest.raises(ConfigError, match="the most it allows is 3"):
        pre_aggregators.build(name, num_byzantine=4).check(7)
    pre_aggregators.build(name, num_byzantine=3).check(7)
    found = transform(pre_aggregators.build(name, num_byzantine=2), rows, context_of(range(7), dropped=1))
    assert torch.equal(found, transform(pre_aggregators.build(name, num_byzantine=1), rows))
    assert not torch.equal(found, transform(pre_aggregators.build(name, num_byzantine=2), rows))


@pytest.mark.parametrize("name", PRE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("columns", "ranks"), [(450, 2), (450, 5), (1, 2)])
def test_pre_aggregators_on_any_number_of_ranks_and_inputs_unchanged(
    columns: int, ranks: int, dtype: torch.dtype, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_blocks(monkeypatch, 64)
    pre = pre_aggregators.build(name)
    rows = (random_rows(7, columns) * torch.linspace(0.001, 3, 7)[:, None]).to(dtype)
    rows[3] = rows[2]
    before = rows.clone()
    expected = transform(pre, rows)

    def transformed(updates: UpdateMatrix) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        found, context = pre(updates, context_of(range(7)))
        return whole_of(found), found.gram(), context.client_ids

    found, gram, ids = the_same(distributed(rows, ranks, transformed))
    assert torch.equal(found, expected)
    assert_same(transformed(UpdateMatrix(rows))[1:], (gram, ids))
    assert torch.equal(rows, before)
    assert not torch.equal(expected[: len(rows)], rows[: len(expected)])


@pytest.mark.parametrize("rule", ["cwtm", "signguard", "centered_clipping", "lasa"])
def test_defences_on_any_number_of_ranks_step_as_the_whole(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the aggregator sees is a matrix that others derived, and its columns."""
    shrink_blocks(monkeypatch, 64)
    whole = Defence(build_aggregator(rule), [pre_aggregators.build(name) for name in ("arc", "nnm", "bucketing")])
    assert whole.shardable
    distributed, last = AggregatorOnRanks(whole, 4), None
    for number in range(2):
        rows, context = random_rows(9, 450, seed=number), full_context(9, 450, number, last)
        found, last = distributed(rows, context), whole(rows, context)
        assert torch.equal(found, last)
        assert_same(distributed.diagnostics, whole.diagnostics)


@pytest.mark.parametrize("name", PRE)
def test_pre_aggregators_are_shardable_and_rows_of_their_own_inherit_no_promise(name: str) -> None:
    known = pre_aggregators.get(name)

    class Own(known):  # type: ignore[misc, valid-type]
        def __call__(self, updates: UpdateMatrix, context: RoundContext) -> tuple[UpdateMatrix, RoundContext]:
            return updates, context

    class Renamed(known):  # type: ignore[misc, valid-type]
        """No rows of its own."""

    class Promised(Own):
        shardable = commutes_with_rotations = True

        def __call__(self, updates: UpdateMatrix, context: RoundContext) -> tuple[UpdateMatrix, RoundContext]:
            return updates, context

    assert [cls.shardable for cls in (known, Own, Renamed, Promised)] == [True, False, True, True]
    assert not Own.commutes_with_rotations
    assert Promised.commutes_with_rotations
    assert not Defence(build_aggregator("fedavg"), [Own()]).shardable


@pytest.mark.parametrize("name", PRE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 1), (2, 5), (3, 1), (40, 3)])
def test_pre_aggregators_of_few_zero_and_identical_rows(
    shape: tuple[int, int], dtype: torch.dtype, name: str
) -> None:
    pre = pre_aggregators.build(name)
    pre.check(shape[0])
    count = pre.rows_after(shape[0])
    for rows in (torch.zeros(shape), torch.linspace(0.1, 0.9, shape[1]).expand(shape), 0.1 * random_rows(*shape)):
        found = transform(pre, rows.to(dtype))
        assert found.dtype == dtype
        assert found.shape == (count, shape[1])
        assert bool(found.isfinite().all())
        if bool((rows == rows[0]).all()):
            torch.testing.assert_close(found, rows[:count].to(dtype))


@pytest.mark.parametrize("name", ["nnm", "clipping", "arc"])
def test_what_replaces_a_row_keeps_its_place_and_its_client(name: str) -> None:
    rows = random_rows(9, 20) * torch.linspace(0.5, 3, 9)[:, None]
    ids = [30, 2, 7, 15, 1, 9, 44, 3, 8]
    pre = pre_aggregators.build(name)
    context = context_of(ids, round_index=4, dropped=2)
    mixed, after = pre(UpdateMatrix(rows), context)
    assert after == context
    order = torch.randperm(9, generator=torch.Generator().manual_seed(5)).tolist()
    permuted = transform(pre, rows[order], context_of([ids[row] for row in order], dropped=2))
    torch.testing.assert_close(permuted, mixed.tensor()[order], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["nnm", "arc"])
def test_honest_rows_stay_right_beside_a_row_at_1e20(name: str) -> None:
    rows = torch.cat([1e-3 * random_rows(6, 501), torch.full((1, 501), 1e20)])
    found = transform(pre_aggregators.build(name, num_byzantine=1), rows).double()
    expected = {"nnm": nnm, "arc": arc}[name](rows, 1)
    torch.testing.assert_close(found[:6], expected[:6], rtol=1e-5, atol=1e-10)
    torch.testing.assert_close(found[6], expected[6], rtol=1e-5, atol=0)
