"""Crops and augmentations: where they lie, and which generator draws them."""

from collections import Counter

import pytest
import torch
from scipy import stats
from torchvision.transforms.v2 import functional

from fedsim.data import TensorSamples
from fedsim.data.augmentations import augmentations
from fedsim.data.inputs import Inputs, View
from support.images import (
    FULL,
    MarksTheEdge,
    Places,
    Plus,
    Twice,
    coordinates,
    corner,
    pictures,
    seeded,
)

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
    expected = torch.randint(256, (4,), generator=twin).tolist()
    assert augment.draws == [expected]
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
