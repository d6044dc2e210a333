"""What a model is shown: shapes and values of a batch."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from fedsim.data import TensorSamples
from fedsim.data.augmentations import Augmentation, augmentations
from fedsim.data.inputs import Inputs, View
from fedsim.errors import ConfigError
from support.images import many_sizes, pictures, seeded, splits

# The shape that a model is given


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (View(), (3, 12, 15)),
        (View(crop=12), (3, 12, 12)),
        (View(crop=5), (3, 5, 5)),
        (View(crop=5, resolution=9), (3, 9, 9)),
        (View(resize=9), (3, 9, 9)),
        (View(resize=12, crop=5, resolution=9, interpolation="bicubic"), (3, 9, 9)),
        (View(resize=8, resolution=20), (3, 20, 20)),
        (View(crop=12, resolution=12), (3, 12, 12)),
        (View(augmentations=[augmentations.build("flip")], normalization=([0.5] * 3, [0.5] * 3)), (3, 12, 15)),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_the_shape_is_that_of_a_batch(view: View, expected: tuple[int, ...], training: bool) -> None:
    samples = pictures(height=12, width=15)
    assert view.shape(splits(samples, (3, 12, 15))) == expected
    batch = Inputs(samples, view).batch(torch.arange(4), seeded(0) if training else None)
    assert batch.shape == (4, *expected)
    assert batch.dtype == torch.float32


def test_square_images_can_be_scaled_without_a_crop() -> None:
    assert View(resolution=32).shape(splits(pictures(), (3, 12, 12))) == (3, 32, 32)


@pytest.mark.parametrize(("height", "width"), [(12, 15), (15, 12)])
def test_a_crop_larger_than_the_smallest_image_is_refused(height: int, width: int) -> None:
    data = splits(pictures(height=height, width=width), (3, height, width))
    with pytest.raises(ConfigError, match=rf"13 is larger than .*{height} x {width}; take at most 12") as caught:
        View(crop=13).shape(data)
    assert caught.value.key == "crop"


def test_images_of_many_sizes_need_a_crop() -> None:
    samples, _ = many_sizes([(12, 20), (18, 14)])
    data = splits(samples, (3, 12, 14), one_size=False)
    for view in (View(), View(resolution=8), View(augmentations=[augmentations.build("flip")])):
        with pytest.raises(ConfigError, match=r"differ in size .*at most 12") as caught:
            view.shape(data)
        assert caught.value.key == "crop"
    assert View(crop=12).shape(data) == (3, 12, 12)
    assert View(crop=12, resolution=30).shape(data) == (3, 30, 30)
    assert View(resize=8).shape(data) == (3, 8, 8)


def test_a_crop_is_cut_out_of_what_images_are_resized_to() -> None:
    samples, _ = many_sizes([(12, 20), (18, 14)])
    data = splits(samples, (3, 12, 14), one_size=False)
    assert View(resize=30, crop=25).shape(data) == (3, 25, 25)
    with pytest.raises(ConfigError, match="9 is larger than the smallest image, 8 x 8"):
        View(resize=8, crop=9).shape(data)


def test_only_squares_are_scaled_to_a_resolution() -> None:
    data = splits(pictures(height=12, width=15), (3, 12, 15))
    for resolution in (8, 12, 15):
        with pytest.raises(ConfigError, match=r"12 x 15 cannot be scaled to a square; set data\.crop") as caught:
            View(resolution=resolution).shape(data)
        assert caught.value.key == "resolution"


@pytest.mark.parametrize(
    ("key", "view"),
    [
        ("resize", View(resize=4)),
        ("augment", View(augmentations=[augmentations.build("flip")])),
        ("crop", View(crop=4)),
        ("resolution", View(resolution=4)),
    ],
)
def test_what_is_for_images_is_refused_for_other_data(key: str, view: View) -> None:
    floats = TensorSamples(torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ConfigError, match="no images; leave it out") as caught:
        view.shape(splits(floats, (3, 8, 8)))
    assert caught.value.key == key


def test_other_data_may_have_any_shape_and_are_normalised() -> None:
    floats = TensorSamples(torch.zeros(4, 7), torch.zeros(4, dtype=torch.int64))
    assert View().shape(splits(floats, (7,))) == (7,)
    assert View(normalization=([0.0], [1.0])).shape(splits(floats, (7,))) == (7,)


# Values


@pytest.mark.parametrize("training", [True, False])
def test_bytes_become_numbers_from_0_to_1(training: bool) -> None:
    samples = TensorSamples(torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16), torch.tensor([0]))
    batch = Inputs(samples).batch(torch.tensor([0]), seeded(0) if training else None)
    assert torch.equal(batch.flatten(), (torch.arange(256) / 255).float())
    assert batch.dtype == torch.float32


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (3, 8, 8)])
@pytest.mark.parametrize("training", [True, False])
def test_numbers_stay_as_they_are_bit_for_bit(shape: tuple[int, ...], training: bool) -> None:
    bits = torch.randint(-(2**31), 2**31, (50, *shape), generator=seeded(0)).to(torch.int32)
    samples = TensorSamples(bits.view(torch.float32), torch.zeros(50, dtype=torch.int64))
    chosen = torch.tensor([4, 0, 4, 49])
    batch = Inputs(samples).batch(chosen, seeded(0) if training else None)
    assert torch.equal(batch.view(torch.int32), bits[chosen])


def test_normalisation_is_torchvisions() -> None:
    samples = pictures()
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    batch = Inputs(samples, View(normalization=(mean, std))).batch(torch.arange(6))
    expected = functional.normalize(samples.inputs.float() / 255, mean, std)
    assert torch.allclose(batch, expected, atol=1e-6)
    assert float(batch.min()) < -1.5
    channel = Inputs(pictures(channels=1), View(normalization=((0,), (2,)))).batch(torch.tensor([3]))
    assert torch.equal(channel, pictures(channels=1).inputs[3:4].float() / 255 / 2)


@pytest.mark.parametrize("resolution", [5, 11, 12, 13, 40])
def test_the_resolution_is_changed_as_torchvision_does(resolution: int) -> None:
    samples = pictures()
    batch = Inputs(samples, View(resolution=resolution)).batch(torch.arange(6))
    floats = samples.inputs.float() / 255
    expected = functional.resize(floats, [resolution, resolution], antialias=True)
    assert torch.allclose(batch, expected, atol=1e-6)
    plain = torch.nn.functional.interpolate(floats, size=(resolution, resolution), mode="bilinear")
    assert (resolution < 12) != torch.allclose(batch, plain, atol=1e-3)  # antialiasing matters where it shrinks


@pytest.mark.parametrize("resolution", [5, 11, 13, 40])
def test_bicubic_scaling_is_torchvisions_and_stays_in_range(resolution: int) -> None:
    samples = pictures()
    batch = Inputs(samples, View(resolution=resolution, interpolation="bicubic")).batch(torch.arange(6))
    floats = samples.inputs.float() / 255
    mode = functional.InterpolationMode.BICUBIC
    expected = functional.resize(floats, [resolution, resolution], interpolation=mode, antialias=True)
    assert torch.allclose(batch, expected.clamp(0, 1), atol=1e-6)
    assert batch.min() >= 0
    assert batch.max() <= 1
    if resolution > 12:  # it would have gone beyond
        assert expected.min() < 0
        assert expected.max() > 1


def test_bilinear_is_the_default_to_the_last_bit() -> None:
    default, bilinear = View(resolution=7), View(resolution=7, interpolation="bilinear")
    both = [Inputs(pictures(), view).batch(torch.arange(6)) for view in (default, bilinear)]
    floats = pictures().inputs.float().div_(255)
    plain = torch.nn.functional.interpolate(floats, size=(7, 7), mode="bilinear", antialias=True)
    assert all(torch.equal(batch, plain) for batch in both)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_images_of_many_sizes_are_resized_as_pillow_does(interpolation: Any, training: bool) -> None:
    """The whole image becomes a square. Pillow rounds twice, and cuts off twice what bicubic shoots beyond a byte."""
    samples, images = many_sizes([(12, 20), (18, 14), (16, 16)])
    view = View(resize=16, interpolation=interpolation)
    batch = Inputs(samples, view).batch(torch.arange(3), seeded(0) if training else None)
    for shown, image in zip((batch * 255).round().int(), images, strict=True):
        by_pillow = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(
            (16, 16), Image.Resampling[interpolation.upper()]
        )
        expected = torch.from_numpy(np.array(by_pillow)).permute(2, 0, 1).int()
        assert ((shown - expected).abs() <= 1).float().mean() > (0.999 if interpolation == "bilinear" else 0.97)
    assert torch.equal(batch[2], images[2].float() / 255)  # it has that size already


def test_augmentations_are_given_resized_images() -> None:
    sizes = []

    class Looks(Augmentation):
        """Looks at what it is given."""

        def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            sizes.append((images.dtype, tuple(images.shape)))
            return images

    samples, _ = many_sizes([(12, 20), (18, 14)])
    Inputs(samples, View(resize=10, augmentations=[Looks()], crop=9)).batch(torch.arange(2), seeded(0))
    assert sizes == [(torch.uint8, (2, 3, 10, 10))]


def test_a_crop_comes_before_the_scaling_and_that_before_the_normalisation() -> None:
    samples = pictures(height=20, width=16)
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    batch = Inputs(samples, View(crop=10, resolution=7, normalization=(mean, std))).batch(torch.arange(6))
    floats = functional.center_crop(samples.inputs, [10, 10]).float() / 255
    expected = functional.normalize(functional.resize(floats, [7, 7], antialias=True), mean, std)
    assert torch.allclose(batch, expected, atol=1e-5)
