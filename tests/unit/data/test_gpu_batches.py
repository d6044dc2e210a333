"""Batches on a real GPU: as on the CPU, without waiting, and the same from either memory."""

from dataclasses import replace

import pytest
import torch

from fedsim.build.data_placement import place_samples
from fedsim.comm import SingleProcess
from fedsim.data import Subset, TensorSamples
from fedsim.data.augmentations import augmentations
from fedsim.data.feeds import Placement
from fedsim.data.inputs import Inputs, View
from fedsim.errors import ConfigError
from support.augmentation_references import levels_apart, share_equal
from support.images import FULL, many_sizes, pictures, seeded, splits
from support.pictures import STRONG, picture
from support.presets import PRESETS, STORED, view_of
from support.real_gpu import GPU, NEEDS_GPU, deterministic, nothing_waits

pytestmark = NEEDS_GPU

CPU = torch.device("cpu")
PLACEMENTS: list[Placement] = ["device", "host"]


def stored(preset: str, count: int = 24) -> TensorSamples:
    channels, height, width = STORED[preset]
    return pictures(count, channels, height, width)


@pytest.mark.parametrize("shape", [(3, 33, 33), (1, 28, 28), (3, 20, 31), (3, 224, 224)])
@pytest.mark.parametrize("name", list(augmentations.describe()))
def test_an_augmentation_does_what_it_does_on_the_cpu(name: str, shape: tuple[int, ...]) -> None:
    for settings in ({}, STRONG.get(name, {})):
        augment, images = augmentations.build(name, **settings), picture((8, *shape))
        expected = augment(images, seeded(0))
        with deterministic():
            after = augment(images.to(GPU), seeded(0)).cpu()
        assert levels_apart(after, expected) <= (2 if settings else 1)
        assert share_equal(after, expected) > 0.99


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_presets_batches_are_those_of_the_cpu(preset: str, placement: Placement) -> None:
    view, order = view_of(preset, normalized=False), torch.arange(24).split(8)
    samples = stored(preset)
    with deterministic():
        there = list(Inputs(samples, view, GPU, placement).stream(order, seeded(0)))
    here = list(Inputs(samples, view).stream(order, seeded(0)))
    for on_gpu, on_cpu in zip(there, here, strict=True):
        levels = (on_gpu.cpu() - on_cpu).abs() * 255
        assert float((levels <= 1).double().mean()) > 0.999
        assert float(levels.max()) < 4
    shown = [Inputs(samples, view, device, placement).batch(order[0]) for device in (GPU, CPU)]
    assert torch.allclose(shown[0].cpu(), shown[1], atol=1e-5)


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("preset", PRESETS)
def test_nothing_waits_for_the_gpu_in_a_batch(preset: str, placement: Placement) -> None:
    inputs, order = Inputs(stored(preset), view_of(preset), GPU, placement), torch.arange(24).split(8)
    view = replace(view_of(preset), augmentations=[augmentations.build(name) for name in augmentations.describe()])
    everything = Inputs(stored(preset), view, GPU, placement)
    with deterministic():
        for shown in (inputs, everything):
            list(shown.stream(order, seeded(0)))
            with nothing_waits():
                batches = list(shown.stream(order, seeded(0)))
            assert {batch.device for batch in batches} == {GPU}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("preset", PRESETS)
def test_both_placements_show_the_same_bits(preset: str, training: bool) -> None:
    samples, order = stored(preset), torch.randperm(24, generator=seeded(1)).split(7)
    for store in (samples, Subset(samples, torch.arange(23, -1, -1))):
        shown = [
            torch.cat(
                list(Inputs(store, view_of(preset), GPU, placement).stream(order, seeded(0) if training else None))
            )
            for placement in PLACEMENTS
        ]
        assert torch.equal(*shown)


def test_images_of_many_sizes_come_as_on_the_cpu() -> None:
    samples, _ = many_sizes([(12, 20), (18, 14), (12, 12), (30, 16), (12, 20)])
    order = [torch.tensor([3, 0, 2]), torch.tensor([0, 4]), torch.tensor([1, 1, 2])]
    for view in (View(crop=9), FULL, View(resize=12), replace(FULL, resize=16)):
        for seed in (None, 0):
            there, here = (
                list(Inputs(samples, view, device).stream(order, None if seed is None else seeded(seed)))
                for device in (GPU, CPU)
            )
            for on_gpu, on_cpu in zip(there, here, strict=True):
                assert float((on_gpu.cpu() - on_cpu).abs().max()) < 0.05


def test_batches_from_the_host_arrive_whole_while_the_gpu_is_busy() -> None:
    """A batch that was used before its copy had ended, or overwritten before its use, would differ."""
    samples = TensorSamples(
        torch.randint(256, (256, 3, 128, 128), generator=seeded(0), dtype=torch.uint8), torch.arange(256)
    )
    order = [torch.randperm(256, generator=seeded(i))[:64] for i in range(30)]
    busy, sums = torch.randn(4096, 4096, device=GPU), []
    weights = torch.randint(1, 1000, (3, 128, 128), device=GPU)
    for batch in Inputs(samples, View(), GPU, "host").stream(order):
        busy = (busy @ busy).tanh()  # the queue is far behind the host
        sums.append(((batch * 255).round().long() * weights).sum((1, 2, 3)))
    for indices, found in zip(order, sums, strict=True):
        assert torch.equal(found.cpu(), (samples.inputs[indices].long() * weights.cpu()).sum((1, 2, 3)))


def test_auto_is_the_gpu_for_what_fits_and_the_host_for_what_does_not() -> None:
    comm = SingleProcess(GPU)
    small = splits(pictures(), (3, 12, 12))
    images = torch.zeros(1, 3, 224, 224, dtype=torch.uint8).expand(10**8, 3, 224, 224)
    huge = splits(TensorSamples(images, torch.zeros(1, dtype=torch.int64).expand(10**8)), (3, 224, 224))
    assert place_samples("auto", small, comm) == place_samples("device", small, comm) == "device"
    assert place_samples("auto", huge, comm) == "host"
    with pytest.raises(ConfigError, match=r"TB for each rank are more than half"):
        place_samples("device", huge, comm)
