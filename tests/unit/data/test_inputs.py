"""From stored samples to what a model is shown."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms.v2 import functional

from fedsim.data import Splits, Subset, TensorSamples
from fedsim.data.augmentations import Augmentation, augmentations
from fedsim.data.image_files import ImagesOfManySizes
from fedsim.data.inputs import Inputs, View
from fedsim.errors import ConfigError


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 6, channels: int = 3, height: int = 12, width: int = 12) -> TensorSamples:
    images = torch.randint(256, (count, channels, height, width), generator=seeded(0), dtype=torch.uint8)
    return TensorSamples(images, torch.arange(count) % 3)


def splits(samples: TensorSamples | ImagesOfManySizes, shape: tuple[int, ...], one_size: bool = True) -> Splits:
    return Splits(train=samples, test=samples, class_names=("a", "b", "c"), input_shape=shape, one_size=one_size)


def many_sizes(sizes: list[tuple[int, int]]) -> tuple[ImagesOfManySizes, list[Tensor]]:
    images = [torch.randint(256, (3, *size), generator=seeded(i), dtype=torch.uint8) for i, size in enumerate(sizes)]
    pixels = torch.cat([image.flatten() for image in images])
    return ImagesOfManySizes(pixels, torch.tensor(sizes), torch.arange(len(sizes))), images


class Places(Augmentation):
    """Writes a draw into the first pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.draws: list[int] = []

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        self.draws.append(int(torch.randint(256, (), generator=generator)))
        image = image.clone()
        image[0, 0, 0] = self.draws[-1]
        return image


class Plus(Augmentation):
    """Adds to every pixel."""

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        return image + 1


class Twice(Augmentation):
    """Doubles every pixel."""

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        return image * 2


class MarksTheEdge(Augmentation):
    """Paints the border of what it is given."""

    def __call__(self, image: Tensor, generator: torch.Generator) -> Tensor:
        assert image.shape == (1, 6, 6)
        image = image.clone()
        image[:, [0, -1]] = 200
        image[:, :, [0, -1]] = 200
        return image


def coordinates(height: int, width: int) -> TensorSamples:
    """One image that says in each pixel where it is."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return TensorSamples(torch.stack([rows, columns])[None].to(torch.uint8), torch.tensor([0]))


def corner(batch: Tensor) -> list[tuple[int, int]]:
    """Top and left of crops of :func:`coordinates`."""
    return [tuple(place) for place in (batch[:, :, 0, 0] * 255).round().int().tolist()]


# The shape that a model is given


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (View(), (3, 12, 15)),
        (View(crop=12), (3, 12, 12)),
        (View(crop=5), (3, 5, 5)),
        (View(crop=5, resolution=9), (3, 9, 9)),
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


def test_only_squares_are_scaled() -> None:
    data = splits(pictures(height=12, width=15), (3, 12, 15))
    for resolution in (8, 12, 15):
        with pytest.raises(ConfigError, match=r"12 x 15 cannot be scaled to a square; set data\.crop") as caught:
            View(resolution=resolution).shape(data)
        assert caught.value.key == "resolution"


@pytest.mark.parametrize(
    ("key", "view"),
    [
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


def test_a_crop_comes_before_the_scaling_and_that_before_the_normalisation() -> None:
    samples = pictures(height=20, width=16)
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    batch = Inputs(samples, View(crop=10, resolution=7, normalization=(mean, std))).batch(torch.arange(6))
    floats = functional.center_crop(samples.inputs, [10, 10]).float() / 255
    expected = functional.normalize(functional.resize(floats, [7, 7], antialias=True), mean, std)
    assert torch.allclose(batch, expected, atol=1e-5)


# Crops


@pytest.mark.parametrize("height", range(8, 17))
@pytest.mark.parametrize("width", [8, 9, 10, 11, 15])
def test_without_training_the_middle_is_shown(height: int, width: int) -> None:
    samples = pictures(height=height, width=width)
    batch = Inputs(samples, View(crop=8)).batch(torch.arange(6))
    top, left = corner(Inputs(coordinates(height, width), View(crop=8)).batch(torch.tensor([0])))[0]
    for before, room in ((top, height - 8), (left, width - 8)):
        assert before in (room // 2, -(-room // 2))  # of an odd room, either side may have the pixel more
    assert torch.equal(batch, samples.inputs[:, :, top : top + 8, left : left + 8].float() / 255)
    if height % 2 == 0 and width % 2 == 0:
        assert torch.equal(batch, functional.center_crop(samples.inputs, [8, 8]).float() / 255)


def test_training_crops_lie_at_all_places_alike() -> None:
    inputs, generator = Inputs(coordinates(7, 9), View(crop=5)), seeded(0)
    times = Counter(corner(inputs.batch(torch.zeros(1500, dtype=torch.int64), generator)))
    places = {(top, left) for top in range(3) for left in range(5)}
    assert set(times) == places
    assert stats.chisquare(list(times.values())).pvalue > 1e-4


def test_a_training_crop_is_one_piece_of_its_image() -> None:
    samples = pictures(count=3, height=7, width=9)
    inputs, generator = Inputs(samples, View(crop=5)), seeded(0)
    for _ in range(20):
        for image, crop in zip(samples.inputs, inputs.batch(torch.arange(3), generator), strict=True):
            windows = image.unfold(1, 5, 1).unfold(2, 5, 1).float() / 255  # [C, 3, 5, 5, 5]
            assert bool((windows == crop[:, None, None]).all(-1).all(-1).all(0).any())


def test_a_crop_of_the_whole_image_is_the_image() -> None:
    samples = pictures()
    batch = Inputs(samples, View(crop=12)).batch(torch.arange(6), seeded(0))
    assert torch.equal(batch, samples.inputs.float() / 255)


# Randomness


FULL = View(
    augmentations=[
        augmentations.build("flip"),
        augmentations.build("color_jitter", brightness=0.5),
        augmentations.build("padded_crop"),
    ],
    crop=9,
    resolution=14,
    normalization=([0.4] * 3, [0.3] * 3),
)


def test_batches_depend_on_the_generator_alone() -> None:
    inputs, indices = Inputs(pictures(), FULL), torch.tensor([5, 0, 2])
    state = torch.get_rng_state()
    first, again, other = (inputs.batch(indices, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    generator = seeded(1)
    assert torch.equal(inputs.batch(indices, generator), first)
    assert not torch.equal(inputs.batch(indices, generator), first)
    assert torch.equal(torch.get_rng_state(), state)


def test_without_a_generator_images_are_shown_as_they_are() -> None:
    samples = pictures()
    inputs, state = Inputs(samples, FULL), torch.get_rng_state()
    first, again = inputs.batch(torch.arange(6)), inputs.batch(torch.arange(6))
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), state)
    bare = Inputs(samples, View(crop=9, resolution=14, normalization=([0.4] * 3, [0.3] * 3)))
    assert torch.equal(first, bare.batch(torch.arange(6)))


def test_a_generator_is_left_alone_where_nothing_is_random() -> None:
    generator = seeded(0)
    fresh = generator.get_state()
    Inputs(pictures(), View(resolution=9, normalization=([0.1] * 3, [1.0] * 3))).batch(torch.arange(6), generator)
    assert torch.equal(generator.get_state(), fresh)


def test_each_image_gets_its_own_draws_in_the_order_of_the_batch() -> None:
    augment = Places()
    batch = Inputs(pictures(), View(augmentations=[augment])).batch(torch.tensor([2, 2, 0, 5]), seeded(3))
    twin = seeded(3)
    expected = [int(torch.randint(256, (), generator=twin)) for _ in range(4)]
    assert augment.draws == expected
    assert len(set(expected)) == 4
    assert (batch[:, 0, 0, 0] * 255).round().int().tolist() == expected


def test_the_same_image_twice_in_a_batch_is_changed_twice() -> None:
    same = torch.zeros(64, dtype=torch.int64)
    for view in (View(augmentations=[augmentations.build("flip")]), View(crop=11)):
        batch = Inputs(pictures(), view).batch(same, seeded(0))
        assert 2 <= len({image.numpy().tobytes() for image in batch}) <= 4


def test_augmentations_act_one_after_another_and_before_the_crop() -> None:
    samples = TensorSamples(torch.full((2, 1, 6, 6), 5, dtype=torch.uint8), torch.tensor([0, 1]))
    for order, expected in (([Plus(), Twice()], 12), ([Twice(), Plus()], 11), ([Plus(), Plus(), Plus()], 8)):
        for crop in (None, 4):
            batch = Inputs(samples, View(augmentations=order, crop=crop)).batch(torch.arange(2), seeded(0))
            assert (batch * 255).round().unique().tolist() == [expected]
    assert (Inputs(samples, View(augmentations=[Plus()])).batch(torch.arange(2)) * 255).unique().tolist() == [5]
    marked = Inputs(samples, View(augmentations=[MarksTheEdge()], crop=4)).batch(torch.arange(2), seeded(0))
    assert bool((marked[:, :, 1:3, 1:3] * 255 < 200).all())


# Stores


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("view", [View(), View(crop=9), FULL])
def test_the_stored_samples_stay_as_they_are(view: View, training: bool) -> None:
    samples = pictures()
    before = samples.inputs.clone()
    batch = Inputs(samples, view).batch(torch.arange(6), seeded(0) if training else None)
    batch.zero_()
    assert torch.equal(samples.inputs, before)


def test_images_of_many_sizes_make_a_batch() -> None:
    samples, images = many_sizes([(12, 20), (18, 14), (12, 12), (30, 16)])
    indices = torch.tensor([3, 0, 2, 0, 1])
    batch = Inputs(samples, View(crop=12)).batch(indices)
    expected = [functional.center_crop(images[index], [12, 12]).float() / 255 for index in indices]
    assert torch.equal(batch, torch.stack(expected))
    before = samples.pixels.clone()
    trained = Inputs(samples, View(augmentations=FULL.augmentations, crop=12, resolution=20))
    first = trained.batch(indices, seeded(0))
    assert first.shape == (5, 3, 20, 20)
    assert torch.equal(first, trained.batch(indices, seeded(0)))
    assert torch.equal(samples.pixels, before)


def test_training_crops_of_many_sizes_reach_all_places_of_each_image() -> None:
    images = []
    for height, width in ((5, 7), (8, 5)):
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        images.append(torch.stack([rows, columns, rows]).to(torch.uint8))
    samples = ImagesOfManySizes(
        torch.cat([image.flatten() for image in images]), torch.tensor([[5, 7], [8, 5]]), torch.tensor([0, 1])
    )
    inputs, generator = Inputs(samples, View(crop=5)), seeded(0)
    for index, places in ((0, {(0, left) for left in range(3)}), (1, {(top, 0) for top in range(4)})):
        batch = inputs.batch(torch.full((100,), index), generator)
        assert set(corner(batch[:, :2])) == places


def test_images_of_one_size_are_batched_alike_from_either_store() -> None:
    samples = pictures()
    flat = ImagesOfManySizes(samples.inputs.flatten(), torch.tensor([[12, 12]] * 6), samples.labels)
    indices = torch.tensor([4, 1, 1])
    for view in (View(), FULL, View(augmentations=FULL.augmentations)):
        for seed in (None, 0):
            batches = [
                Inputs(store, view).batch(indices, None if seed is None else seeded(seed))
                for store in (samples, flat)
            ]
            assert torch.equal(*batches)


@pytest.mark.parametrize("training", [True, False])
def test_a_subset_shows_the_samples_that_it_names(training: bool) -> None:
    full, _ = many_sizes([(12, 20), (18, 14), (12, 12), (30, 16)])
    for samples in (pictures(), full):
        chosen = torch.tensor([3, 0, 2])
        part = Subset(samples, chosen)
        indices = torch.tensor([2, 0, 0])
        a, b = (
            Inputs(store, FULL).batch(positions, seeded(0) if training else None)
            for store, positions in ((part, indices), (samples, chosen[indices]))
        )
        assert torch.equal(a, b)
        assert torch.equal(Inputs(part).labels, samples.labels[chosen])
        assert len(Inputs(part)) == len(part) == 3


def test_a_subset_of_a_subset_keeps_columns_and_labels() -> None:
    samples = TensorSamples(torch.arange(5.0)[:, None], torch.tensor([4, 3, 2, 1, 0]), {"site": list("abcde")})
    part = Subset(Subset(samples, torch.tensor([4, 2, 0])), torch.tensor([2, 0]))
    assert part.columns == {"site": ["a", "e"]}
    assert part.labels.tolist() == [4, 0]
    assert Inputs(part).batch(torch.tensor([1, 0])).tolist() == [[4.0], [0.0]]


def test_memory_mapped_images_are_only_read(tmp_path: Path) -> None:
    samples = pictures()
    np.save(tmp_path / "images.npy", samples.inputs.numpy())
    before = (tmp_path / "images.npy").read_bytes()
    mapped = torch.from_numpy(np.load(tmp_path / "images.npy", mmap_mode="r+"))
    indices = torch.tensor([5, 0])
    for view in (View(), FULL):
        inputs = Inputs(TensorSamples(mapped, samples.labels), view)
        expected = Inputs(samples, view).batch(indices, seeded(0))
        assert torch.equal(inputs.batch(indices, seeded(0)), expected)
    assert (tmp_path / "images.npy").read_bytes() == before
