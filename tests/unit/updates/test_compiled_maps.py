"""Compiled column maps: the same bits as eager ones, for any number of columns, and eager where that fails."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from fedsim.aggregators import available_aggregators, build_aggregator
from fedsim.updates import compiled_maps
from fedsim.updates.column_maps import EAGER, BlockKind, MapRunner, column_map
from fedsim.updates.compiled_maps import BLOCKS_AT_ONCE, MOST_ROWS, CompiledMaps
from fedsim.updates.matrix import BLOCK, UpdateMatrix
from support.aggregation import context_of
from support.references import random_rows

WIDE = BLOCKS_AT_ONCE * BLOCK


@column_map
def largest(block: Tensor, factor: Tensor, power: int = 1) -> Tensor:
    return (block.amax(0) * factor) ** power


@column_map
def largest_and_positive(block: Tensor) -> tuple[Tensor, Tensor]:
    return block.amax(0), (block > 0).sum(1)


def some_rows(rows: int, columns: int) -> Tensor:
    """Random values, among them ties and zeros of both signs."""
    values = random_rows(rows, columns)
    values[:, 1::7] = values[:, 1::7].round()
    values[::2, ::5] = 0.0
    values[1::2, ::5] *= -0.0
    return values


def same_bits(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one.view(torch.uint8), other.view(torch.uint8))


# With a compiler ---------------------------------------------------------------------------------


def run(name: str, rows: Tensor, maps: MapRunner) -> list[Tensor]:
    """Steps and numbers of two rounds."""
    aggregator = build_aggregator(name)
    steps = [aggregator(UpdateMatrix(rows, maps=maps), context_of(range(len(rows)), number)) for number in range(2)]
    return [*steps, *aggregator.diagnostics.per_client.values()]


def assert_compiled_alike(name: str, rows: int) -> CompiledMaps:
    notices: list[str] = []
    maps, values = CompiledMaps(notices.append), some_rows(rows, WIDE + 9)
    torch._dynamo.reset()
    found = run(name, values, maps)
    assert notices == []
    assert all(map(same_bits, found, run(name, values, EAGER)))
    return maps


@pytest.mark.parametrize("name", ["cwtm", "fedseca", "ties"])
def test_a_compiled_aggregator_has_the_bits_of_an_eager_one(name: str) -> None:
    assert assert_compiled_alike(name, 3).number


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 4, 10])
@pytest.mark.parametrize("name", available_aggregators())
def test_every_compiled_aggregator_has_the_bits_of_an_eager_one(name: str, rows: int) -> None:
    assert_compiled_alike(name, rows)


def test_what_is_compiled_serves_any_number_of_columns_and_derived_matrices() -> None:
    maps = CompiledMaps()
    factor, before = torch.tensor(2.0), counters["stats"]["unique_graphs"]
    for columns in (WIDE, WIDE + 5, 2 * WIDE + 100, 3 * WIDE):
        rows = random_rows(4, columns).abs() + 1
        updates = UpdateMatrix(rows, maps=maps).select([2, 0, 1])
        expected = 2 * rows[:3].amax(0)
        assert same_bits(updates.map_columns(largest, factor), expected)
        assert same_bits(UpdateMatrix(rows[:3], maps=maps).map_columns(largest, factor), expected)
    assert maps.number == 1
    assert counters["stats"]["unique_graphs"] - before <= 2  # for one distance between rows, and for any
    mixed = UpdateMatrix(rows, maps=maps).mix(torch.eye(4)[:3])
    assert same_bits(mixed.map_columns(largest, factor), expected)
    assert maps.number == 2  # its blocks are computed one by one


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["cwmed", "cwtm", "fedseca", "ties"])
def test_on_a_gpu_compiled_maps_have_the_bits_of_eager_ones(name: str) -> None:
    """Where Triton gives other bits, the map stays eager and says so; a failure to compile is none of this."""
    notices: list[str] = []
    maps, values = CompiledMaps(notices.append), some_rows(4, 9_000_000).cuda()
    torch._dynamo.reset()
    found = run(name, values, maps)
    assert all(map(same_bits, found, run(name, values, EAGER)))
    assert all("other bits" in notice for notice in notices)


# Without -----------------------------------------------------------------------------------------


def compiled_by(compiler: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> tuple[CompiledMaps, list[str]]:
    """Maps that are compiled by something else than torch, and what they say."""
    monkeypatch.setattr(torch, "compile", lambda function, **options: compiler(function))
    notices: list[str] = []
    return CompiledMaps(notices.append, most=3), notices


def check_largest(maps: CompiledMaps, rows: int = 3, power: int = 1) -> None:
    values = some_rows(rows, 2 * WIDE + 3)
    found = UpdateMatrix(values, maps=maps).map_columns(largest, torch.tensor(1.0), power)
    assert same_bits(found, values.amax(0) ** power)


def test_without_a_compiler_maps_are_eager_which_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: Any) -> Any:
        raise RuntimeError("no compiler\nfor this machine")

    maps, notices = compiled_by(lambda function: missing, monkeypatch)
    for power in (1, 1, 2):
        check_largest(maps, power=power)
    assert notices == ["the column map largest is not compiled: RuntimeError: no compiler"]


@pytest.mark.parametrize(
    "change", [lambda values: values.nextafter(values + 1), torch.abs], ids=["larger", "sign of 0"]
)
def test_a_map_with_other_bits_is_not_used(
    change: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    maps, notices = compiled_by(lambda function: lambda *arguments: change(function(*arguments)), monkeypatch)
    values = -torch.zeros(3, WIDE)
    assert same_bits(UpdateMatrix(values, maps=maps).map_columns(largest, torch.tensor(1.0)), values[0])
    assert notices == ["the column map largest is not compiled: it got other bits"]


def test_there_is_a_limit_of_shape_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []

    def compile_it(function: Any) -> Any:
        compiled.append(function)
        return function

    maps, notices = compiled_by(compile_it, monkeypatch)
    for rows in (2, 3, 4, 5, 6, 2, 3):
        check_largest(maps, rows)
    assert len(compiled) == 3
    assert notices == ["3 column maps are compiled, and further ones are not"]


def test_maps_of_many_rows_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, notices = compiled_by(lambda function: pytest.fail("compiled"), monkeypatch)
    check_largest(maps, MOST_ROWS + 1)
    assert notices == [f"column maps of more than {MOST_ROWS} rows are not compiled"]


def test_other_functions_and_narrow_matrices_are_never_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, notices = compiled_by(lambda function: pytest.fail("compiled"), monkeypatch)
    wide, narrow = (UpdateMatrix(some_rows(3, columns), maps=maps) for columns in (WIDE, WIDE - 1))
    assert same_bits(wide.map_columns(lambda block: block.amax(0)), wide.tensor().amax(0))
    assert same_bits(
        wide.map_order_statistics(range(2, 3), lambda ordered: ordered[0].abs()), wide.tensor().amax(0).abs()
    )
    assert same_bits(narrow.map_columns(largest, torch.tensor(1.0)), narrow.tensor().amax(0))
    assert notices == []


def test_tallies_are_summed_over_blocks_and_wide_blocks_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, _ = compiled_by(lambda function: function, monkeypatch)
    rows = some_rows(3, 5 * BLOCK + 7)
    values, tally = UpdateMatrix(rows, maps=maps).map_columns_with_tally(largest_and_positive)
    assert maps.number == 1
    assert same_bits(values, rows.amax(0))
    assert torch.equal(tally, (rows > 0).sum(1))


@pytest.mark.parametrize(
    "derive",
    [
        lambda updates: updates.select([0]),
        lambda updates: updates.select([0, 2]),
        lambda updates: updates.scale(torch.ones(3)),
        lambda updates: updates.mix(torch.eye(3)),
        lambda updates: updates.mix(torch.eye(3)).select([1]),
        lambda updates: updates.extend(torch.ones(1, updates.num_columns)),
        lambda updates: updates.columns([(1, 3)]),
        lambda updates: updates.beside(torch.ones(1, updates.num_columns)),
    ],
)
def test_derived_matrices_inherit_who_runs_their_maps(derive: Any) -> None:
    class Counting(CompiledMaps):
        asked = 0

        def prepare(self, function: Any, arguments: Any, kind: BlockKind) -> Any:
            self.asked += 1
            return EAGER.prepare(function, arguments, kind)

    maps = Counting()
    derive(UpdateMatrix(random_rows(3, 5), maps=maps)).map_columns(largest, torch.tensor(1.0))
    assert maps.asked == 1


def test_the_reason_of_a_failure_is_what_lies_at_its_root() -> None:
    error = RuntimeError("backend failed")
    error.__cause__ = OSError("a\nx.cpp:3: error: no omp.h\nb")
    assert compiled_maps.reason(error) == "OSError: x.cpp:3: error: no omp.h"
