"""Evaluation on a real GPU: as on the CPU, the same twice, and with one wait."""

import pytest
import torch
from torch import nn

from fedsim.comm import SingleProcess
from fedsim.data import TensorSamples
from fedsim.data.feeds import Placement
from fedsim.data.inputs import Inputs, View
from fedsim.evaluation.evaluator import Evaluation, Evaluator
from fedsim.seeds import seeded as globally_seeded
from support.randomness import seeded
from support.real_gpu import GPU, NEEDS_GPU, deterministic, waits

pytestmark = NEEDS_GPU

IMAGES = torch.randint(256, (1100, 3, 16, 16), generator=seeded(0), dtype=torch.uint8)
SAMPLES = TensorSamples(IMAGES, torch.randint(10, (1100,), generator=seeded(1)))
OWNERS = torch.arange(1100) % 5 - 1
VIEW = View(resolution=20, normalization=([0.5] * 3, [0.25] * 3))


def model() -> nn.Module:
    with globally_seeded(3):
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(2592, 10))


def evaluated(device: torch.device, placement: Placement = "device") -> Evaluation:
    inputs = Inputs(SAMPLES, VIEW, device, placement)
    with deterministic():
        return Evaluator(inputs, 10, 128, SingleProcess(device), OWNERS).evaluate(model().to(device))


@pytest.mark.parametrize("placement", ["device", "host"])
def test_it_is_that_of_the_cpu_and_the_same_bits_twice(placement: Placement) -> None:
    torch.backends.cudnn.allow_tf32 = False
    try:
        here, there, again = evaluated(torch.device("cpu")), evaluated(GPU, placement), evaluated(GPU, placement)
    finally:
        torch.backends.cudnn.allow_tf32 = True
    assert torch.equal(there.confusion, here.confusion)
    assert there.client_accuracy == here.client_accuracy
    assert there.loss == pytest.approx(here.loss, rel=1e-5)
    assert again.loss == there.loss
    assert torch.equal(again.confusion, there.confusion)


def test_the_gpu_is_waited_for_once() -> None:
    evaluator = Evaluator(Inputs(SAMPLES, VIEW, GPU, "device"), 10, 128, SingleProcess(GPU), OWNERS)
    on_gpu = model().to(GPU)
    with deterministic():
        evaluator.evaluate(on_gpu)
        with waits() as found:
            evaluator.evaluate(on_gpu)
    assert len(found) == 1, found
