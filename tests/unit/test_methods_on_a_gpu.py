"""Every method on a real GPU: what it gives, whether it gives it again, its waits, launches and memory."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fedsim.aggregators import RoundContext
from fedsim.aggregators.base import aggregators
from fedsim.aggregators.cwtm import CoordinateWiseTrimmedMean
from fedsim.aggregators.defence import Defence
from fedsim.aggregators.pre import pre_aggregators
from fedsim.attacks.base import AttackView, attacks
from fedsim.updates import matrix
from fedsim.updates.layout import RowLayout
from fedsim.updates.matrix import BLOCK, UpdateMatrix
from fedsim.updates.random_rows import draw_rows, normal
from support.cuda_counts import BLOCK as SCALED_BLOCK
from support.cuda_counts import counts_of_defence, facts_of, rows_of, scaled_blocks

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore"),
]

ROWS, BYZANTINE, COLUMNS, MANY_COLUMNS = 8, 2, 3 * BLOCK + 777, 22_000_000
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)

SAME_BITS = {"fedavg", "cwmed", "cwtm", "meamed", "ties"}
"""Rules that reduce over the rows in their order and need no sum over the columns."""

MOST_MEMORY = 2.5
"""In matrices [K, D] beside the one that is given."""

Round = Callable[[Tensor, int], Tensor]
"""What a method makes of the rows of a round."""


@pytest.fixture(autouse=True)
def _deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As runtime.deterministic does it."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


def context(round_index: int, columns: int, device: torch.device) -> RoundContext:
    return RoundContext(
        round=round_index,
        client_ids=tuple(range(ROWS)),
        layout=RowLayout({"flat": (columns - 20_000,), "square": (100, 100), "other": (100, 100)}),
        last_step=(torch.arange(columns, device=device) % 7 - 3).float() * 1e-2,
        weights=torch.ones(columns, device=device),
        generator=torch.Generator().manual_seed(round_index),
        sample_counts=tuple(range(9, 9 + ROWS)),
    )


def random_rows(seed: int, columns: int = COLUMNS) -> Tensor:
    return torch.randn(ROWS, columns, generator=torch.Generator().manual_seed(seed)) + 0.1


def defence_of(name: str, *pre: str) -> Round:
    defence = Defence(aggregators.build(name), [pre_aggregators.build(one) for one in pre])
    return lambda rows, number: defence(UpdateMatrix(rows), context(number, rows.shape[1], rows.device))


def attack_of(name: str) -> Round:
    attack, defence = attacks.build(name), Defence(CoordinateWiseTrimmedMean())

    def rows_of_attackers(rows: Tensor, number: int) -> Tensor:
        updates, facts = UpdateMatrix(rows), context(number, rows.shape[1], rows.device)
        honest, own = updates.select(range(ROWS - BYZANTINE)), updates.select(range(ROWS - BYZANTINE, ROWS))
        attack.observe(facts)
        return attack(AttackView(honest=honest, own=own, aggregator=defence, context=facts))

    return rows_of_attackers


METHODS: dict[str, Callable[[], Round]] = {
    **{name: lambda name=name: defence_of(name) for name in sorted(aggregators.describe())},  # type: ignore[misc]
    **{f"{pre} + rfa": lambda pre=pre: defence_of("rfa", pre) for pre in sorted(pre_aggregators.describe())},  # type: ignore[misc]
    **{f"attack {name}": lambda name=name: attack_of(name) for name in sorted(attacks.describe())},  # type: ignore[misc]
}
every_method = pytest.mark.parametrize("name", METHODS)


def over_rounds(name: str, device: torch.device) -> list[Tensor]:
    method = METHODS[name]()
    return [method(random_rows(number).to(device), number) for number in range(3)]


@every_method
def test_a_gpu_gives_what_the_cpu_gives_and_the_same_bits_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "CUDA_BLOCK_VALUES", ROWS * BLOCK)  # several blocks there, too
    expected, found, again = (over_rounds(name, device) for device in (CPU, GPU, GPU))
    for wanted, first, second in zip(expected, found, again, strict=True):
        assert first.device == GPU
        assert torch.equal(first.view(torch.int32), second.view(torch.int32))
        if name in SAME_BITS:
            assert torch.equal(first.cpu(), wanted)
        scale = float(wanted.nan_to_num(posinf=0, neginf=0).abs().max())
        torch.testing.assert_close(first.cpu(), wanted, rtol=1e-5, atol=1e-6 * scale, equal_nan=True)


@every_method
def test_22_million_columns_take_little_memory(name: str) -> None:
    generator = torch.Generator(GPU).manual_seed(0)
    rows = torch.randn(ROWS, MANY_COLUMNS, generator=generator, device=GPU)
    method = METHODS[name]()
    method(rows[:, :COLUMNS].clone(), 0)  # what libraries keep from their first call on
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = METHODS[name]()(rows, 0)
    assert result.shape[-1] == MANY_COLUMNS
    assert torch.cuda.max_memory_allocated() - before <= MOST_MEMORY * rows.nbytes


def real_waits(name: str, columns: int) -> int:
    """How often the CPU waits in a round, as torch itself says."""
    with scaled_blocks():
        rows = rows_of(0, columns)
        Defence(aggregators.build(name))(UpdateMatrix(rows), facts_of(0, columns))  # loads kernels, opens libraries
        defence, facts = Defence(aggregators.build(name)), facts_of(0, columns)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                defence(UpdateMatrix(rows), facts)
            finally:
                torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(one.message) for one in caught)


@pytest.mark.parametrize("name", sorted(aggregators.describe()))
def test_torch_counts_no_more_waits_than_the_pretended_gpu(name: str) -> None:
    few, many = (real_waits(name, blocks * SCALED_BLOCK) for blocks in (2, 5))
    pretended = counts_of_defence(Defence(aggregators.build(name)), 2 * SCALED_BLOCK)
    assert few <= pretended.waits + 2, pretended.places
    assert many <= few + 2


def real_launches(method: Round, rows: Tensor) -> int:
    method(rows, 0)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        method(rows, 0)
        torch.cuda.synchronize()
    kernels = [event.name for event in profile.events() if "CUDA" in str(event.device_type)]
    return sum(not name.startswith(("Memcpy", "Memset")) for name in kernels)


@pytest.mark.parametrize("name", ["cwtm", "fedseca", "krum", "ties"])
def test_the_profiler_counts_about_as_many_launches_as_the_pretended_gpu(name: str) -> None:
    columns = 5 * SCALED_BLOCK
    with scaled_blocks():
        rows, facts = rows_of(0, columns), facts_of(0, columns)
        defence = Defence(aggregators.build(name))
        launches = real_launches(lambda given, number: defence(UpdateMatrix(given), facts), rows)
    pretended = counts_of_defence(Defence(aggregators.build(name)), columns)
    assert launches <= 2 * pretended.launches + 20  # a sort is several kernels


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
def test_quantiles_have_the_bits_of_the_cpu(dtype: torch.dtype, share: float) -> None:
    rows = random_rows(3).to(dtype)
    rows[0], rows[1, ::2] = 0, 0
    found = UpdateMatrix(rows.to(GPU)).absolute_quantiles(share)
    assert torch.equal(found.cpu(), UpdateMatrix(rows).absolute_quantiles(share))


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_statistics_do_not_depend_on_the_precision_of_float32_products(precision: str) -> None:
    columns = 21_000
    rows = random_rows(4, columns).repeat(40, 1)  # more rows than bfloat16 can count votes of
    rows[::3] *= -1
    facts = replace(context(0, columns, GPU), client_ids=tuple(range(len(rows))), sample_counts=None)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        updates = UpdateMatrix(rows.to(GPU))
        gram, agreement = updates.gram().cpu(), updates.sign_agreement().cpu()
        step = aggregators.build("fedseca", clip=False)(updates, facts).cpu()
    finally:
        torch.set_float32_matmul_precision(before)
    wide = rows.double()
    torch.testing.assert_close(gram, wide @ wide.T, rtol=1e-11, atol=1e-6)
    assert torch.equal(agreement, (wide.sign() @ wide.sign().T).long())
    assert torch.equal(step, aggregators.build("fedseca", clip=False)(UpdateMatrix(rows), facts))


def test_drawn_rows_have_the_bits_of_the_cpu() -> None:
    on_cpu, on_gpu = (
        draw_rows(7, [0, 3], UpdateMatrix(torch.zeros(1, COLUMNS, device=device)), normal) for device in (CPU, GPU)
    )
    assert on_gpu.device == GPU
    assert torch.equal(on_gpu.cpu(), on_cpu)


@pytest.mark.parametrize("count", [8, 40, 100])
def test_blocks_of_many_rows_are_narrow(count: int) -> None:
    rows = torch.randn(count, 40 * BLOCK, device=GPU)
    updates = UpdateMatrix(rows)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    updates.gram()
    assert torch.cuda.max_memory_allocated() - before <= 1.5 * 8 * matrix.CUDA_BLOCK_VALUES
