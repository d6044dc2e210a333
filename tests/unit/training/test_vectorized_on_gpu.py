"""What only a GPU can show of clients that are trained at once: rounding, determinism, and that nothing waits."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from fedsim.data.augmentations import augmentations
from fedsim.data.feeds import Placement
from fedsim.data.inputs import View
from fedsim.training.freezing import set_training
from fedsim.training.losses.cross_entropy import CrossEntropy
from fedsim.training.optimizers import optimizer_maker
from fedsim.training.precision import set_matmul_precision
from fedsim.training.vectorized_batches import GroupBatch
from fedsim.training.vectorized_checks import require_vectorizable
from fedsim.training.vectorized_steps import VectorizedSteps
from fedsim.updates.model_rows import ModelRows
from support.local_work import rules, work
from support.vectorized import CLASSES, SIZES, Clients, conv, larger_pictures, largest_difference, packaged, pictures

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

TOLERANCE = 1e-3
"""Of a row, in its length: kernels take sums in other orders, and the package's models have kinks."""


@pytest.fixture(autouse=True)
def as_in_a_run(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Deterministic and exact, as `prepare_process` makes a rank; the process as it was afterwards."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    set_matmul_precision("highest")
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize("placement", ["device", "host"])
@pytest.mark.parametrize("name", ["small_cnn", "mlp"])
@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.05), ("adam", 0.001)])
def test_rows_are_those_of_one_client_after_another_and_of_a_cpu_and_the_same_bits_again(
    name: str, optimizer: str, lr: float, placement: Placement
) -> None:
    given = work(make_optimizer=optimizer_maker(optimizer, {"lr": lr}, "x"))
    clients = Clients(packaged(name).cuda(), given, larger_pictures(), placement=placement)
    require_vectorizable(clients.rows.model, (1, 20, 20))
    rows, losses = clients.at_once()
    assert rows.is_cuda
    assert torch.equal(rows, clients.at_once()[0])
    others, their_losses = clients.in_turn()
    assert largest_difference(rows, others) < TOLERANCE
    assert losses == pytest.approx(their_losses, rel=1e-4, nan_ok=True)
    on_cpu = Clients(packaged(name), given, larger_pictures()).at_once()[0]
    assert largest_difference(rows.cpu(), on_cpu) < TOLERANCE
    assert rows.any(dim=1).tolist() == [size > 1 for size in SIZES]


def test_every_option_of_a_step_and_augmentations() -> None:
    options = rules(proximal=1.0, clip_norm=0.5, micro_batches=2, loss=CrossEntropy(class_weights="client"))
    view = View(augmentations=[augmentations.build("flip", vertical=0.5)], crop=4)
    clients = Clients(conv().cuda(), work(rules=options), pictures(), view=view, placement="device")
    assert largest_difference(clients.at_once()[0], clients.in_turn()[0]) < 1e-4


def test_rows_on_the_host_are_those_of_the_gpu() -> None:
    clients = Clients(packaged("mlp").cuda(), work(), larger_pictures())
    rows = torch.full((len(SIZES), len(clients.state)), torch.nan)
    clients.at_once_trainer.update_all(range(len(SIZES)), 3, clients.state, list(rows))
    assert torch.equal(rows, clients.at_once()[0].cpu())


@pytest.mark.parametrize("make", [lambda: packaged("small_cnn"), lambda: packaged("mlp")])
def test_nothing_waits_for_the_gpu_within_a_step(make: type[nn.Module]) -> None:
    rows = ModelRows(make().cuda())
    set_training(rows.model)
    optimizer = optimizer_maker("adam", {"lr": 0.01}, "x")
    start = rows.read()[0]
    options = rules(proximal=0.1, clip_norm=1.0, micro_batches=2)
    steps = VectorizedSteps(options, rows.model, rows.layout, start, 3, optimizer)
    labels = torch.arange(24, device="cuda").view(3, 8) % CLASSES
    batch = GroupBatch(torch.rand(3, 8, 1, 20, 20, device="cuda"), labels, torch.full((3, 8), 1 / 8, device="cuda"))
    fewer = GroupBatch(batch.inputs[:2], batch.labels[:2], batch.weights[:2])
    steps.backward(batch)  # cuDNN and cuBLAS prepare themselves
    steps.step()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for given in (batch, fewer):
            steps.keep(len(given.labels))
            steps.backward(given)
            steps.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
