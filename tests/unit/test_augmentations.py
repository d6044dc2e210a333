"""Augmentations: what holds for every one of them, and what each of them promises."""

import random
from math import exp, log, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor
from torchvision.transforms.v2 import functional

from fedsim.data.augmentations import augmentations, uniform
from fedsim.errors import ConfigError

ALL = list(augmentations.describe())

STRONG = {
    "flip": {"horizontal": 0.5, "vertical": 0.5},
    "color_jitter": {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.3},
}
"""Settings under which everything that an augmentation can do is on."""

SHAPES = [(3, 32, 32), (1, 28, 28), (3, 20, 31), (1, 31, 20), (3, 1, 1)]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(shape: tuple[int, ...] = (3, 32, 32), seed: int = 0) -> Tensor:
    """No two pixels alike, or nearly."""
    return torch.randint(1, 256, shape, generator=seeded(seed), dtype=torch.uint8)


def changed(name: str, image: Tensor, seed: int = 0, **settings: Any) -> Tensor:
    return augmentations.build(name, **(settings or STRONG.get(name, {})))(image, seeded(seed))


# What holds for every augmentation


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


@pytest.mark.parametrize("name", ALL)
def test_images_that_are_views_are_changed_alike_and_leave_what_they_are_part_of(name: str) -> None:
    store = picture((4, 3, 40, 50))
    before = store.clone()
    views = [
        store[1],
        store[2, :, 3:30, 7:41],
        store[3].transpose(1, 2),
        store.view(-1)[17 : 17 + 3 * 11 * 13].view(3, 11, 13),
        store[0, :1].expand(3, 40, 50),
    ]
    for view in views:
        for seed in range(5):
            assert torch.equal(changed(name, view, seed), changed(name, view.contiguous(), seed))
            assert torch.equal(store, before)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("defaults", [True, False])
def test_the_generator_says_all(name: str, defaults: bool) -> None:
    augment = augmentations.build(name, **({} if defaults else STRONG.get(name, {})))
    image, outputs = picture(), set()
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
    torch_state, numpy_state, python_state = torch.get_rng_state(), np.random.get_state(), random.getstate()
    generator = seeded(0)
    fresh = generator.get_state()
    changed_image = augmentations.build(name, **STRONG.get(name, {}))(picture(), generator)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state[1])
    assert np.random.get_state()[2:] == numpy_state[2:]
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
        augment(image, generator)
        states.append(generator.get_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


@pytest.mark.parametrize("name", ALL)
def test_an_augmentation_refuses_settings_that_it_does_not_know(name: str) -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        augmentations.build(name, nonsense=1)


def test_uniform_draws_are_uniform() -> None:
    generator = seeded(0)
    draws = [uniform(-3, 5, generator) for _ in range(2000)]
    assert stats.kstest(draws, stats.uniform(-3, 8).cdf).statistic < 2.2 / sqrt(2000)
    assert uniform(2, 2, generator) == 2


# flip


def names_of_flips(count: int, **settings: float) -> list[str]:
    image = picture((3, 5, 7))
    mirrored = {
        "none": image.numpy(),
        "left and right": image.numpy()[:, :, ::-1],
        "top and bottom": image.numpy()[:, ::-1],
        "both": image.numpy()[:, ::-1, ::-1],
    }
    augment, generator, found = augmentations.build("flip", **settings), seeded(1), []
    for _ in range(count):
        after = augment(image, generator).numpy()
        (name,) = [name for name, expected in mirrored.items() if np.array_equal(after, expected)]
        found.append(name)
    return found


@pytest.mark.parametrize(
    ("horizontal", "vertical", "expected"),
    [(0.0, 0.0, "none"), (1.0, 0.0, "left and right"), (0.0, 1.0, "top and bottom"), (1.0, 1.0, "both")],
)
def test_a_flip_that_is_sure_is_always_made(horizontal: float, vertical: float, expected: str) -> None:
    assert set(names_of_flips(200, horizontal=horizontal, vertical=vertical)) == {expected}


def test_by_default_half_of_all_images_are_mirrored() -> None:
    found = names_of_flips(2000)
    assert set(found) == {"none", "left and right"}
    assert abs(found.count("none") / 2000 - 0.5) < 5 * sqrt(0.25 / 2000)


def test_the_two_flips_are_drawn_apart() -> None:
    found = names_of_flips(4000, horizontal=0.3, vertical=0.8)
    expected = {"none": 0.14, "left and right": 0.06, "top and bottom": 0.56, "both": 0.24}
    for name, share in expected.items():
        assert abs(found.count(name) / 4000 - share) < 5 * sqrt(share * (1 - share) / 4000), name


# padded_crop


@pytest.mark.parametrize(("shape", "padding"), [((3, 8, 8), 2), ((1, 5, 9), 3), ((2, 2, 2), 4)])
def test_a_padded_crop_is_the_image_moved_and_all_places_occur_alike(shape: tuple[int, ...], padding: int) -> None:
    image = picture(shape)
    _, height, width = shape
    moved: dict[bytes, list[tuple[int, int]]] = {}
    for down in range(-padding, padding + 1):
        for right in range(-padding, padding + 1):
            expected = np.zeros(shape, dtype=np.uint8)
            for row in range(height):
                for column in range(width):
                    if 0 <= row + down < height and 0 <= column + right < width:
                        expected[:, row, column] = image[:, row + down, column + right]
            moved.setdefault(expected.tobytes(), []).append((down, right))
    places, draws = (2 * padding + 1) ** 2, 100 * (2 * padding + 1) ** 2
    augment, generator, times = (
        augmentations.build("padded_crop", padding=padding),
        seeded(0),
        dict.fromkeys(moved, 0),
    )
    for _ in range(draws):
        times[augment(image, generator).contiguous().numpy().tobytes()] += 1  # a KeyError is no such window
    observed, expected_times = list(times.values()), [100 * len(offsets) for offsets in moved.values()]
    assert min(observed) > 0
    assert stats.chisquare(observed, expected_times).pvalue > 1e-4
    assert sum(map(len, moved.values())) == places


def test_padding_is_four_pixels_unless_said_otherwise_and_never_none() -> None:
    image = torch.full((1, 8, 8), 255, dtype=torch.uint8)
    augment, generator = augmentations.build("padded_crop"), seeded(0)
    black = {int((augment(image, generator)[0].amax(1) == 0).sum()) for _ in range(200)}
    assert black == {0, 1, 2, 3, 4}
    with pytest.raises(ConfigError, match="padding"):
        augmentations.build("padded_crop", padding=0)


# rotation


def angles_of(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The angles of all rotations from now on."""
    angles, rotate = [], functional.rotate

    def spy(image: Tensor, angle: float, *args: Any, **kwargs: Any) -> Tensor:
        angles.append(angle)
        return rotate(image, angle, *args, **kwargs)

    monkeypatch.setattr(functional, "rotate", spy)
    return angles


def test_a_rotation_is_the_one_that_pillow_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    angles = angles_of(monkeypatch)
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(40), indexing="ij")
    smooth = (127 + 60 * torch.sin(rows / 6) + 60 * torch.cos(columns / 5)).to(torch.uint8).expand(3, 40, 40)
    for seed in range(10):
        after = changed("rotation", smooth, seed, degrees=90.0)
        by_pillow = Image.fromarray(smooth.permute(1, 2, 0).contiguous().numpy()).rotate(
            angles[-1], resample=Image.Resampling.BILINEAR
        )
        expected = torch.from_numpy(np.array(by_pillow)).permute(2, 0, 1)
        difference = (after.int() - expected.int()).abs()
        assert float((difference <= 3).double().mean()) > 0.95  # edges apart, where they blend differently
        off = (changed("rotation", smooth, seed + 100, degrees=90.0).int() - expected.int()).abs()
        assert float((off <= 3).double().mean()) < 0.95


@pytest.mark.parametrize(("degrees", "reach"), [(None, 50.0), (10.0, 10.0), (180.0, 180.0)])
def test_angles_are_uniform_either_way(degrees: float | None, reach: float, monkeypatch: pytest.MonkeyPatch) -> None:
    angles = angles_of(monkeypatch)
    augment, generator = augmentations.build("rotation", **({"degrees": degrees} if degrees else {})), seeded(0)
    for _ in range(500):
        augment(picture((1, 4, 4)), generator)
    assert -reach <= min(angles) < -0.97 * reach
    assert 0.97 * reach < max(angles) <= reach
    assert stats.kstest(angles, stats.uniform(-reach, 2 * reach).cdf).statistic < 2.2 / sqrt(500)


def test_a_rotation_turns_around_the_middle_and_leaves_black_corners() -> None:
    image = torch.zeros(1, 33, 33, dtype=torch.uint8)
    image[0, 12:21, 12:21] = 200
    full = torch.full((3, 33, 33), 255, dtype=torch.uint8)
    for seed in range(30):
        turned = changed("rotation", image, seed, degrees=180.0)[0].double()
        rows, columns = torch.meshgrid(torch.arange(33.0), torch.arange(33.0), indexing="ij")
        assert float((turned * rows).sum() / turned.sum()) == pytest.approx(16, abs=0.1)
        assert float((turned * columns).sum() / turned.sum()) == pytest.approx(16, abs=0.1)
        assert float(turned.sum()) == pytest.approx(float(image.sum()), rel=0.02)
    corners = [changed("rotation", full, seed, degrees=50.0)[:, [0, 0, -1, -1], [0, -1, 0, -1]] for seed in range(30)]
    assert sum(int((corner == 0).all()) for corner in corners) > 20


# color_jitter


def drawn(generator: torch.Generator, middle: float, reach: float) -> float:
    """The next factor, by hand."""
    return middle - reach + 2 * reach * torch.rand((), generator=generator, dtype=torch.float64).item()


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 16, 16), (3, 7, 12)])
@pytest.mark.parametrize(
    "reach",
    [
        {"brightness": 0.4, "contrast": 0.0, "saturation": 0.0, "hue": 0.0},
        {"brightness": 0.0, "contrast": 0.6, "saturation": 0.0, "hue": 0.0},
        {"brightness": 0.0, "contrast": 0.0, "saturation": 1.0, "hue": 0.0},
        {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.5},
        {"brightness": 0.3, "contrast": 0.2, "saturation": 0.5, "hue": 0.1},
        {},
    ],
)
def test_colours_change_as_torchvision_changes_them(reach: dict[str, float], shape: tuple[int, ...]) -> None:
    image, augment = picture(shape), augmentations.build("color_jitter", **reach)
    wanted = reach or {"brightness": 0.15, "contrast": 0.1}
    for seed in range(10):
        twin, expected = seeded(seed), image
        for name in ("brightness", "contrast", "saturation", "hue"):
            if wanted.get(name):
                adjust = getattr(functional, f"adjust_{name}")
                expected = adjust(expected, drawn(twin, 0 if name == "hue" else 1, wanted[name]))
        assert torch.equal(augment(image, seeded(seed)), expected)


def test_brightness_multiplies_and_stays_within_bytes() -> None:
    image = picture()
    for seed in range(10):
        factor = drawn(seeded(seed), 1, 0.9)
        expected = np.clip(np.floor(image.numpy().astype(np.float32) * np.float32(factor)), 0, 255)
        after = changed("color_jitter", image, seed, brightness=0.9, contrast=0.0).numpy().astype(np.float32)
        assert np.abs(after - expected).max() <= 1
        assert (after == expected).mean() > 0.98


def test_contrast_moves_away_from_the_mean_grey_or_towards_it() -> None:
    image = picture((3, 24, 24))
    weights = np.array([0.2989, 0.587, 0.114]).reshape(3, 1, 1)
    grey = np.floor((image.numpy() * weights).sum(0)).mean()
    for seed in range(10):
        factor = drawn(seeded(seed), 1, 0.5)
        after = changed("color_jitter", image, seed, brightness=0.0, contrast=0.5)
        expected = np.clip(factor * image.numpy() + (1 - factor) * grey, 0, 255)
        assert np.abs(after.numpy() - expected).max() <= 2


def test_images_without_colour_have_no_saturation_and_no_hue() -> None:
    grey = picture((1, 12, 12))
    for seed in range(5):
        assert torch.equal(changed("color_jitter", grey, seed, brightness=0, contrast=0, saturation=1, hue=0.5), grey)


def test_without_reach_colours_stay_and_nothing_is_drawn() -> None:
    generator, image = seeded(0), picture()
    fresh = generator.get_state()
    assert torch.equal(augmentations.build("color_jitter", brightness=0, contrast=0)(image, generator), image)
    assert torch.equal(generator.get_state(), fresh)


@pytest.mark.parametrize(("key", "value"), [("brightness", 1.1), ("contrast", -0.1), ("saturation", 2), ("hue", 0.6)])
def test_a_reach_out_of_bounds_is_refused(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=key):
        augmentations.build("color_jitter", **{key: value})


# resized_crop


def pieces(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], count: int, **settings: float) -> np.ndarray:
    """Top, left, height and width of the pieces that were cut out [count, 4]."""
    cut, resized_crop = [], functional.resized_crop

    def spy(image: Tensor, top: int, left: int, height: int, width: int, **kwargs: Any) -> Tensor:
        cut.append((top, left, height, width))
        return resized_crop(image, top, left, height, width, **kwargs)

    monkeypatch.setattr(functional, "resized_crop", spy)
    augment, generator = augmentations.build("resized_crop", **settings), seeded(0)
    image = picture(shape)
    for _ in range(count):
        augment(image, generator)
    assert len(cut) == count
    return np.array(cut)


@pytest.mark.parametrize("shape", [(1, 200, 200), (1, 150, 260)])
@pytest.mark.parametrize(
    "settings", [{}, {"smallest": 0.3}, {"smallest": 0.25, "stretch": 2.0}, {"smallest": 0.5, "stretch": 1.0}]
)
def test_pieces_lie_in_the_image_and_keep_to_area_and_stretch(
    settings: dict[str, float], shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, height, width = shape
    top, left, high, wide = pieces(monkeypatch, shape, 400, **settings).T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + high <= height).all()
    assert (left + wide <= width).all()
    smallest, stretch = settings.get("smallest", 0.08), settings.get("stretch", 4 / 3)
    area = high * wide / (height * width)
    rounding = 1 + 1.05 / min(high.min(), wide.min())
    assert area.min() >= smallest / rounding
    assert area.min() < smallest + 0.1
    assert area.max() > 0.85
    bend = (wide / width) / (high / height)
    assert bend.min() >= 1 / stretch / rounding
    assert bend.max() <= stretch * rounding
    if stretch > 1:
        assert bend.min() < 1 / sqrt(stretch)
        assert bend.max() > sqrt(stretch)


@pytest.mark.parametrize("smallest", [0.8, 0.95, 1.0])
def test_pieces_are_never_smaller_than_the_smallest_share(smallest: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a stretched piece would stick out of the image."""
    _, _, high, wide = pieces(monkeypatch, (1, 200, 200), 300, smallest=smallest).T
    assert (high * wide / 200**2).min() >= smallest - 0.01


def test_areas_are_uniform_and_stretches_in_their_logarithm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pieces that are too small to stick out of the image, which are those of less than 3/4 of it."""
    _, _, high, wide = pieces(monkeypatch, (1, 1000, 1000), 400, smallest=0.1).T
    area = high * wide / 1e6
    small = area[area < 0.7]
    assert stats.kstest(small, stats.uniform(0.1, 0.6).cdf).statistic < 2.2 / sqrt(len(small))
    assert abs(len(small) / 400 - 0.6 / 0.9) < 5 * sqrt(0.22 / 400)
    bends = np.log(wide / high)[area < 0.7]
    assert stats.kstest(bends, stats.uniform(-log(4 / 3), 2 * log(4 / 3)).cdf).statistic < 2.2 / sqrt(len(bends))


def test_pieces_lie_at_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    top, left, high, wide = pieces(monkeypatch, (1, 400, 400), 400, smallest=0.08).T
    small = (high < 300) & (wide < 300)
    for place, side in ((top, high), (left, wide)):
        relative = (place[small] + 0.5) / (400 - side[small] + 1)
        assert stats.kstest(relative, stats.uniform(0, 1).cdf).statistic < 2.2 / sqrt(small.sum())


def test_a_piece_is_scaled_back_smoothly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a ramp, a piece is a ramp from where it begins to where it ends."""
    ramp = torch.stack([torch.arange(200)[:, None].expand(200, 200), torch.arange(200)[None].expand(200, 200)]).to(
        torch.uint8
    )
    cut = pieces(monkeypatch, (2, 200, 200), 20)
    augment, generator = augmentations.build("resized_crop"), seeded(0)
    for top, left, high, wide in cut.tolist():
        after = augment(ramp, generator).double()
        rows = top + (torch.arange(200) + 0.5) * high / 200 - 0.5
        columns = left + (torch.arange(200) + 0.5) * wide / 200 - 0.5
        inner = slice(8, -8)  # at the edge there is nothing to blend with
        assert (after[0].mean(1) - rows)[inner].abs().max() < 1
        assert (after[1].mean(0) - columns)[inner].abs().max() < 1


def test_the_whole_image_unbent_is_the_image() -> None:
    image = picture((3, 21, 34))
    assert torch.equal(changed("resized_crop", image, smallest=1.0, stretch=1.0), image)


@pytest.mark.parametrize("settings", [{"smallest": 0.0}, {"smallest": 1.5}, {"stretch": 0.5}])
def test_pieces_of_impossible_shape_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        augmentations.build("resized_crop", **settings)


def test_tiny_pieces_of_tiny_images_have_a_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, high, wide = pieces(monkeypatch, (3, 2, 3), 100, smallest=0.001, stretch=exp(2)).T
    assert high.min() == 1
    assert wide.min() == 1
