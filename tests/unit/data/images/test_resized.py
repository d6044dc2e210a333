"""Images that differ in size, scaled once."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedsim.data import Subset, TensorSamples
from fedsim.data.images.pixels import Interpolation
from fedsim.data.images.resized import resized_splits
from fedsim.data.inputs import Inputs, View
from support.images import many_sizes, pictures, seeded, splits

SIZES = [(12, 20), (18, 14), (12, 12), (30, 16)]


@pytest.mark.parametrize("cached_as", ["", "lesions-0"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_they_are_shown_as_if_each_batch_were_scaled(
    cached_as: str, interpolation: Interpolation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSIM_CACHE", str(tmp_path))
    samples, _ = many_sizes(SIZES)
    samples = replace(samples, cached_as=cached_as, columns={"site": list("abcd")})
    chosen = torch.tensor([3, 0, 2])
    given = replace(splits(samples, (3, 12, 12), one_size=False), test=Subset(samples, chosen))
    kept = resized_splits(given, 11, interpolation)
    assert kept.one_size
    assert kept.input_shape == (3, 11, 11)
    assert kept.train.columns == samples.columns
    assert kept.test.columns == {"site": ["d", "a", "c"]}
    view = View(resize=11, crop=9, interpolation=interpolation)
    for before, after in ((given.train, kept.train), (given.test, kept.test)):
        assert torch.equal(before.labels, after.labels)
        indices = torch.arange(len(before)).flip(0)
        for seed in (None, 0):
            shown = [Inputs(s, view).batch(indices, None if seed is None else seeded(seed)) for s in (before, after)]
            assert torch.equal(*shown)
    folders = {path.name for path in tmp_path.glob("*")}
    assert len(folders) == (2 if cached_as else 0)
    again = resized_splits(given, 11, interpolation)
    assert {path.name for path in tmp_path.glob("*")} == folders
    assert isinstance(kept.train, TensorSamples)
    assert isinstance(again.train, TensorSamples)
    assert torch.equal(again.train.inputs, kept.train.inputs)
    other = resized_splits(given, 10, interpolation)
    assert other.train.pick(torch.tensor([0]))[0].shape == (3, 10, 10)


def test_images_of_one_size_and_those_that_would_grow_stay_as_they_are() -> None:
    one_size = splits(pictures(), (3, 12, 12))
    assert resized_splits(one_size, 8, "bilinear") is one_size
    samples, _ = many_sizes(SIZES)
    smaller = splits(samples, (3, 12, 12), one_size=False)
    assert resized_splits(smaller, 13, "bilinear") is smaller


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 20, 31)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("side", [7, 64])
def test_a_batch_is_scaled_like_its_images_to_the_last_bit(
    shape: tuple[int, int, int], interpolation: Interpolation, side: int
) -> None:
    samples = pictures(5, *shape)
    inputs = Inputs(samples, View(resize=side, interpolation=interpolation))
    alone = torch.cat([inputs.batch(torch.tensor([index])) for index in range(5)])
    assert torch.equal(inputs.batch(torch.arange(5)), alone)
