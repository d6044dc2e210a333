"""Batches on a device: nothing waits for it, and the host does nothing for single samples."""

import pytest
import torch
from torch import Tensor

from fedsim.data import TensorSamples
from fedsim.data.augmentations import Augmentation, augmentations
from fedsim.data.feeds import copied_to, size_in_bytes
from fedsim.data.images.pixels import Interpolation
from fedsim.data.inputs import Inputs, View
from fedsim.errors import ConfigError
from support.images import FULL, many_sizes, pictures, seeded
from support.meta_device import META, CopiesToMeta
from support.pictures import STRONG, picture

ALL = list(augmentations.describe())


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("resize", [None, 22])
def test_no_value_of_an_image_is_asked_for(
    name: str, channels: int, interpolation: Interpolation, resize: int | None
) -> None:
    view = View(
        resize=resize,
        augmentations=[augmentations.build(name, **STRONG.get(name, {}))],
        crop=20,
        resolution=30,
        interpolation=interpolation,
        normalization=([0.5] * channels, [0.5] * channels),
    )
    inputs = Inputs(pictures(9, channels, 24, 24), view, META, "device")
    for generator in (seeded(0), None):
        shown = list(inputs.stream(torch.arange(9).split(4), generator))
        assert [tuple(batch.shape) for batch in shown] == [(n, channels, 30, 30) for n in (4, 4, 1)]
        assert {batch.device for batch in shown} == {META}


@pytest.mark.parametrize("name", ALL)
def test_draws_do_not_depend_on_the_device(name: str) -> None:
    """They come from the generator, which is on the CPU, and in the same number."""
    augment, states = augmentations.build(name, **STRONG.get(name, {})), []
    for device in (torch.device("cpu"), META):
        generator = seeded(7)
        augment(picture((5, 3, 16, 16)).to(device), generator)
        states.append(generator.get_state())
    assert torch.equal(*states)


def test_an_augmentation_is_called_once_for_each_batch() -> None:
    sizes = []

    class Counts(Augmentation):
        """Counts the images that it is given."""

        def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
            sizes.append(len(images))
            return images

    inputs, generator = Inputs(pictures(10), View(augmentations=[Counts()])), seeded(0)
    for indices in torch.arange(10).split(4):
        inputs.batch(indices, generator)
    assert sizes == [4, 4, 2]


def test_copies_to_the_device_do_not_grow_with_the_number_of_batches() -> None:
    inputs = Inputs(pictures(24), View(crop=9, resolution=14, normalization=([0.4] * 3, [0.3] * 3)), META, "device")
    counts = []
    for batch_size in (12, 2):
        with CopiesToMeta() as copies:
            list(inputs.stream(torch.arange(24).split(batch_size)))
        counts.append(copies.count)
    assert counts == [1, 1]


def test_what_is_drawn_for_a_batch_takes_few_copies() -> None:
    inputs = Inputs(pictures(24), FULL, META, "device")
    counts = []
    for batch_size in (12, 4):
        with CopiesToMeta() as copies:
            list(inputs.stream(torch.arange(24).split(batch_size), seeded(0)))
        counts.append(copies.count)
    assert counts[0] <= 1 + 2 * 4  # of flip, jitter, padded crop and crop in each of two batches
    assert counts[1] <= 1 + 6 * 4


@pytest.mark.parametrize("made", [torch.zeros(3, 12, 12, dtype=torch.uint8), torch.zeros(6, 3, 12, 12)])
def test_what_an_augmentation_may_not_make_is_refused(made: Tensor) -> None:
    class Wrong(Augmentation):
        """Makes something else."""

        def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
            return made

    with pytest.raises(ConfigError, match=r"Wrong makes .* of \[6, 3, 12, 12\] of torch.uint8") as caught:
        Inputs(pictures(), View(augmentations=[Wrong()])).batch(torch.arange(6), seeded(0))
    assert caught.value.key == "data.augment"


def test_samples_of_any_store_are_copied_as_they_are() -> None:
    flat, images = many_sizes([(6, 6)] * 700)
    for samples in (flat, TensorSamples(torch.stack(images), flat.labels)):
        copied = copied_to(samples, torch.device("cpu"))
        assert torch.equal(copied.inputs, torch.stack(images))
        assert torch.equal(copied.labels, samples.labels)
        assert size_in_bytes(samples) == 700 * 3 * 6 * 6
    floats = TensorSamples(torch.randn(300, 2, 5, generator=seeded(0)), torch.arange(300))
    assert torch.equal(copied_to(floats, torch.device("cpu")).inputs, floats.inputs)
    assert size_in_bytes(floats) == 300 * 10 * 4
