"""What only a GPU can show of local work: precision, determinism, and that nothing waits within a step."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedsim.build.pinned_rows import pin_rows
from fedsim.comm.rows import SharedRows
from fedsim.data import TensorSamples
from fedsim.data.inputs import Inputs
from fedsim.models import models
from fedsim.seeds import seeded
from fedsim.training.client import ClientData, LocalWork, Trainer
from fedsim.training.local_steps import LocalSteps
from fedsim.training.optimizers import optimizer_maker
from fedsim.training.precision import matmul_precision, set_matmul_precision
from fedsim.updates.model_rows import ModelRows
from support.launch import ROOT
from support.local_work import rules, work
from support.randomness import draws
from support.real_gpu import nothing_waits

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

CLASSES, BATCH = 10, 16

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # torch looks once, at the first product on a GPU


@pytest.fixture(autouse=True)
def as_in_a_run() -> Iterator[None]:
    """Deterministic and exact, as `prepare_process` makes a rank; the process as it was afterwards."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    set_matmul_precision("highest")
    yield
    torch.use_deterministic_algorithms(before)


def resnet18() -> nn.Module:
    with seeded(1):
        return models.build("timm", architecture="resnet18", stem="cifar").build((3, 32, 32), CLASSES)


def samples(count: int = 2 * BATCH + 5) -> TensorSamples:
    return TensorSamples(draws(3, count, 3, 32, 32), torch.arange(count) % CLASSES)


ADAMW = {"lr": 1e-3, "weight_decay": 1e-6}


def some_work(optimizer: str = "adamw", settings: dict[str, Any] | None = None, **changes: Any) -> LocalWork:
    make = optimizer_maker(optimizer, settings or ADAMW, "clients.optimizer")
    return work(**{"epochs": 1, "batch_size": BATCH, "make_optimizer": make, **changes})


def update(given: LocalWork, device: str = "cuda", out: Tensor | None = None) -> tuple[float, Tensor]:
    """Mean loss of a client of 37 samples, and its row."""
    torch.cuda.empty_cache()
    data, model = samples(), resnet18()
    if given.rules.channels_last:
        model = model.to(memory_format=torch.channels_last)
    rows = ModelRows(model.to(device))
    state = torch.cat(rows.read())
    out = torch.empty_like(state) if out is None else out
    everything = torch.arange(len(data))
    inputs = Inputs(data, device=torch.device(device))
    client = ClientData(inputs, [everything], lambda client, round_index: data.labels, CLASSES)
    return Trainer(rows, client, given, seed=0).update(0, 0, state, out), out


VARIANTS: dict[str, LocalWork] = {
    "float32": some_work(),
    "tf32": some_work(matmul="tf32"),
    "bfloat16": some_work(rules=rules(amp=torch.bfloat16)),
    "float16": some_work(rules=rules(amp=torch.float16)),
    "channels_last": some_work(rules=rules(channels_last=True)),
    "bfloat16 channels_last": some_work(rules=rules(amp=torch.bfloat16, channels_last=True)),
    "fused": some_work(settings={**ADAMW, "fused": True}),
    "fused float16": some_work(settings={**ADAMW, "fused": True}, rules=rules(amp=torch.float16)),
    "proximal and clipped": some_work(rules=rules(proximal=0.1, clip_norm=1.0)),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_client_of_a_presets_model_gives_the_same_bits_twice_and_a_loss_near_that_of_float32(name: str) -> None:
    loss, row = update(VARIANTS[name])
    again, row_again = update(VARIANTS[name])
    assert loss == again
    assert torch.equal(row, row_again)
    assert row.isfinite().all()
    assert row.any()
    exact, _ = update(VARIANTS["float32"])
    assert loss == pytest.approx(exact, rel=0.1)


def test_the_first_loss_in_float32_is_that_of_the_cpu() -> None:
    one = some_work(steps=1)
    on_gpu, on_cpu = update(one)[0], update(one, device="cpu")[0]
    assert on_gpu == pytest.approx(on_cpu, rel=1e-4)


def test_a_step_in_float32_is_that_of_the_cpu_and_one_in_tf32_is_not() -> None:
    plain: dict[str, Any] = {"steps": 1, "optimizer": "sgd", "settings": {"lr": 0.1}}
    (_, on_cpu), (_, exact), (_, rough) = (
        update(some_work(**plain), device="cpu"),
        update(some_work(**plain)),
        update(some_work(**plain, matmul="tf32")),
    )
    size = sum(parameter.numel() for parameter in resnet18().parameters())  # buffers hide them
    wanted = on_cpu[:size]
    off = [float((row[:size].cpu() - wanted).norm() / wanted.norm()) for row in (exact, rough)]
    assert off[0] < 2e-3
    if torch.cuda.get_device_capability() >= (8, 0):  # others have no TF32
        assert off[1] > 3 * off[0]


def test_products_are_exact_by_default_and_after_a_block_of_tf32() -> None:
    left, right = draws(1, 512, 512), draws(2, 512, 512)
    exact = left.double() @ right.double()
    images, kernels = draws(4, 4, 64, 16, 16), draws(5, 64, 64, 3, 3)
    wanted = nn.functional.conv2d(images.double(), kernels.double())

    def errors() -> tuple[float, float]:
        product = (left.cuda() @ right.cuda()).cpu().double()
        convolved = nn.functional.conv2d(images.cuda(), kernels.cuda()).cpu().double()
        return float((product - exact).norm() / exact.norm()), float((convolved - wanted).norm() / wanted.norm())

    assert max(errors()) < 1e-5
    with matmul_precision("tf32", torch.device("cuda")):
        inside = errors()
    assert max(errors()) < 1e-5
    if torch.cuda.get_device_capability() >= (8, 0):
        assert min(inside) > 5e-5


@pytest.mark.parametrize(
    ("optimizer", "settings", "changes"),
    [
        ("sgd", {"lr": 0.1, "momentum": 0.9}, {}),
        ("adamw", ADAMW, {}),
        ("adamw", {**ADAMW, "fused": True}, {}),
        ("adamw", ADAMW, {"proximal": 0.1, "clip_norm": 1.0, "micro_batches": 2}),
        ("adamw", ADAMW, {"amp": torch.bfloat16, "channels_last": True}),
        ("adamw", {**ADAMW, "fused": True}, {"amp": torch.float16}),
    ],
)
def test_nothing_waits_for_the_gpu_within_a_step(
    optimizer: str, settings: dict[str, Any], changes: dict[str, Any]
) -> None:
    model = resnet18().cuda()
    trained = list(model.parameters())
    stepper = optimizer_maker(optimizer, settings, "clients.optimizer")(trained)
    weights = torch.ones(CLASSES, device="cuda")
    steps = LocalSteps(rules(**changes), model, trained, stepper, weights)
    data = samples(BATCH)
    inputs, labels = data.inputs.cuda(), data.labels.cuda()
    steps.backward(inputs, labels)  # cuDNN and cuBLAS prepare themselves
    steps.step()
    torch.cuda.synchronize()
    with nothing_waits():
        for _ in range(2):
            steps.backward(inputs, labels)
            steps.step()


def test_float16_waits_unless_the_optimiser_is_fused() -> None:
    trained = list((model := resnet18().cuda()).parameters())
    stepper = optimizer_maker("adamw", {**ADAMW, "fused": False}, "clients.optimizer")(trained)
    steps = LocalSteps(rules(amp=torch.float16), model, trained, stepper, None)
    data = samples(BATCH)
    steps.backward(data.inputs.cuda(), data.labels.cuda())
    with nothing_waits(), pytest.raises(RuntimeError, match="synchroniz"):
        steps.step()


def test_a_row_in_pinned_shared_memory_is_the_row_of_the_gpu() -> None:
    given = some_work(steps=2)
    _, on_gpu = update(given)
    matrix = torch.full((2, len(on_gpu)), torch.nan).share_memory_()
    transport = SharedRows(matrix, 0, lambda: None)
    pin_rows(transport, torch.device("cuda"))
    assert transport.row(1).is_pinned()
    _, row = update(given, out=transport.row(1))
    assert torch.equal(row, on_gpu.cpu())
    assert matrix[0].isnan().all()
    del transport
    assert not matrix.is_pinned()


def test_memory_that_cannot_be_pinned_leaves_no_error_behind() -> None:
    matrix = torch.zeros(2, 1000).share_memory_()
    first, second = SharedRows(matrix, 0, lambda: None), SharedRows(matrix, 0, lambda: None)
    pin_rows(first, torch.device("cuda"))
    pin_rows(second, torch.device("cuda"))  # CUDA refuses to register it twice
    assert float(torch.ones(3, device="cuda").sum()) == 3
    torch.cuda.synchronize()
    del second
    assert matrix.is_pinned()


def run(folder: Path, name: str, *overrides: str) -> str:
    """The checksum of a small run in a process of its own."""
    command = [sys.executable, "fedsim/main.py", f"output_dir={folder}", f"run_name={name}", "rounds=2"]
    small = ["clients.count=3", "clients.batch_size=256", "attack.num_byzantine=1", "tracking.tensorboard=false"]
    done = subprocess.run([*command, *small, *overrides], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    shown = [sys.executable, "-c", CHECKSUM, str(folder / name / "checkpoints" / "round_000002.safetensors")]
    return subprocess.run(shown, capture_output=True, text=True, check=True, timeout=60).stdout


CHECKSUM = "import sys; from safetensors import safe_open; "
CHECKSUM += "print(safe_open(sys.argv[1], 'pt').metadata()['checksum'])"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_runs_give_the_same_bits_in_two_processes(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["runtime.device=cuda", "runtime.compile=true", f"runtime.compile_mode={mode}"]
    sums = []
    for name in ("one", "two"):
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / f"code of {name}"))  # each compiles by itself
        sums.append(run(tmp_path, name, *options))
    assert sums[0] == sums[1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_cuda_graph_gives_the_bits_of_the_kernels_that_it_replays(tmp_path: Path) -> None:
    options = ["runtime.device=cuda", "runtime.compile=true"]
    sums = [run(tmp_path, mode, *options, f"runtime.compile_mode={mode}") for mode in ("default", "reduce-overhead")]
    assert sums[0] == sums[1]
