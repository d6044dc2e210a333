"""Local work on a device: nothing waits for it before the last batch, and copies do not grow with the batches."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from fedsim.data import TensorSamples
from fedsim.data.augmentations import augmentations
from fedsim.data.feeds import Placement
from fedsim.data.inputs import Inputs, View
from fedsim.seeds import seeded as globally_seeded
from fedsim.training.client import ClientData, Trainer
from fedsim.updates.model_rows import ModelRows
from support.local_work import work
from support.meta_device import META, CopiesToMeta
from support.randomness import seeded
from support.real_gpu import GPU, deterministic, waits

IMAGES = torch.randint(256, (24, 1, 6, 6), generator=seeded(0), dtype=torch.uint8)
SAMPLES = TensorSamples(IMAGES, torch.arange(24) % 4)
VIEW = View(normalization=([0.5], [0.5]))


class Watched(nn.Module):
    """Counts the batches that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
        self.batches = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.batches += 1
        return self.layers(inputs)


def copies_of_a_round(batch_size: int) -> int:
    """Copies to the device in a round of 24 samples; nothing must wait for it until all batches are done."""
    model = Watched().to(META)
    rows = ModelRows(model)
    state = torch.cat(rows.read())
    inputs = Inputs(SAMPLES, VIEW, META, "device")
    data = ClientData(inputs, [torch.arange(24)], lambda client, round_index: SAMPLES.labels, 4)
    trainer = Trainer(rows, data, work(epochs=1, batch_size=batch_size), 0)
    with CopiesToMeta() as copies, pytest.raises(RuntimeError, match="meta tensors"):
        trainer.update(0, 0, state, torch.empty_like(state))  # the mean loss is a number
    assert model.batches == 24 // batch_size
    return copies.count


def test_copies_of_a_round_do_not_grow_with_its_batches() -> None:
    assert copies_of_a_round(12) == copies_of_a_round(2) <= 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is visible")
@pytest.mark.parametrize("placement", ["device", "host"])
def test_on_a_real_gpu_no_batch_waits_for_it(placement: Placement) -> None:
    model = Watched().to(GPU)
    rows = ModelRows(model)
    state = torch.cat(rows.read())
    augmenting = replace(VIEW, augmentations=[augmentations.build(name) for name in augmentations.describe()])
    data = ClientData(Inputs(SAMPLES, augmenting, GPU, placement), [torch.arange(24)], lambda *_: SAMPLES.labels, 4)
    found = {}
    for batch_size in (12, 12, 2):  # the first warms up
        trainer = Trainer(rows, data, work(epochs=1, batch_size=batch_size), 0)
        with deterministic(), waits() as found[batch_size]:
            trainer.update(0, 0, state, torch.empty_like(state))
    assert found[2] == found[12]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is visible")
def test_on_a_real_gpu_a_row_has_the_same_bits_wherever_samples_lie() -> None:
    augmenting = replace(VIEW, augmentations=[augmentations.build(name) for name in augmentations.describe()])
    out = []
    for placement in ("device", "host", "device"):
        with globally_seeded(0):
            rows = ModelRows(Watched().to(GPU))
        state = torch.cat(rows.read())
        inputs = Inputs(SAMPLES, augmenting, GPU, placement)
        data = ClientData(inputs, [torch.arange(24)], lambda *_: SAMPLES.labels, 4)
        out.append(torch.empty_like(state))
        with deterministic():
            Trainer(rows, data, work(epochs=3, batch_size=5), 0).update(0, 0, state, out[-1])
    assert torch.equal(out[0], out[1])
    assert torch.equal(out[0], out[2])
