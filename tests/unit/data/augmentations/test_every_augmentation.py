"""What holds for every augmentation."""

import pickle
import random

import numpy as np
import pytest
import torch

from fedsim.data.augmentations import augmentations
from fedsim.errors import ConfigError
from support.augmentation_references import levels_apart, share_equal
from support.pictures import STRONG, changed, changed_batch, picture
from support.randomness import seeded

ALL = list(augmentations.describe())
SHAPES = [(3, 32, 32), (1, 28, 28), (3, 20, 31), (1, 31, 20), (3, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ALL)
def test_an_image_keeps_its_shape_and_type_and_is_not_written_to(name: str, shape: tuple[int, ...]) -> None:
    image = picture(shape)
    before = image.clone()
    for seed in range(10):
        after = changed(name, image, seed)
        assert after.shape == image.shape
        assert after.dtype == torch.uint8
        assert torch.equal(image, before)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ALL)
def test_a_batch_is_what_its_images_are_one_by_one(name: str, shape: tuple[int, ...]) -> None:
    """With the draws of one generator in the order of the batch."""
    images, generator = picture((12, *shape)), seeded(4)
    augment = augmentations.build(name, **STRONG.get(name, {}))
    alone = torch.cat([augment(image[None], generator) for image in images])
    generator_of_batch = seeded(4)
    together = augment(images, generator_of_batch)
    assert torch.equal(generator.get_state(), generator_of_batch.get_state())
    assert levels_apart(together, alone) <= 1
    assert share_equal(together, alone) > 0.999


@pytest.mark.parametrize("name", ALL)
def test_images_that_are_views_are_changed_alike_and_leave_what_they_are_part_of(name: str) -> None:
    store = picture((4, 3, 40, 50))
    before = store.clone()
    views = [
        store[1:3],
        store[2:, :, 3:30, 7:41],
        store[1:].transpose(2, 3),
        store.view(-1)[17 : 17 + 2 * 3 * 11 * 13].view(2, 3, 11, 13),
        store[:2, :1].expand(2, 3, 40, 50),
        store.to(memory_format=torch.channels_last),
    ]
    for view in views:
        for seed in range(5):
            assert torch.equal(changed_batch(name, view, seed), changed_batch(name, view.contiguous(), seed))
            assert torch.equal(store, before)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("defaults", [True, False])
def test_everything_follows_from_the_generator(name: str, defaults: bool) -> None:
    augment = augmentations.build(name, **({} if defaults else STRONG.get(name, {})))
    image, outputs = picture((1, 3, 32, 32)), set()
    for seed in range(20):
        first, again = augment(image, seeded(seed)), augment(image, seeded(seed))
        assert torch.equal(first, again)
        outputs.add(first.numpy().tobytes())
    assert len(outputs) > 1
    generator = seeded(0)
    in_a_row = {augment(image, generator).numpy().tobytes() for _ in range(20)}
    assert len(in_a_row) > 1


@pytest.mark.parametrize("name", ALL)
def test_no_draw_comes_from_elsewhere(name: str) -> None:
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    numpy_state = pickle.dumps(np.random.get_state())
    generator = seeded(0)
    fresh = generator.get_state()
    changed_image = augmentations.build(name, **STRONG.get(name, {}))(picture()[None], generator)[0]
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert pickle.dumps(np.random.get_state()) == numpy_state
    assert random.getstate() == python_state
    assert not torch.equal(generator.get_state(), fresh)
    torch.manual_seed(99)
    try:
        assert torch.equal(changed(name, picture()), changed_image)
    finally:
        torch.set_rng_state(torch_state)


@pytest.mark.parametrize("name", ALL)
def test_images_take_as_many_draws_whatever_they_show(name: str) -> None:
    """So that the images after one in a batch do not depend on it."""
    augment = augmentations.build(name, **STRONG.get(name, {}))
    states = []
    for image in (picture(seed=1), picture(seed=2), torch.zeros(3, 32, 32, dtype=torch.uint8)):
        generator = seeded(5)
        augment(image[None], generator)
        states.append(generator.get_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


@pytest.mark.parametrize("name", ALL)
def test_an_augmentation_refuses_settings_that_it_does_not_know(name: str) -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        augmentations.build(name, nonsense=1)
