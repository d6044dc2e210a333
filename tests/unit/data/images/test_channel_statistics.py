"""What images are normalised by: computed or published, once for all runs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fedsim.data import Samples, Subset, TensorSamples
from fedsim.data.images import channel_statistics
from fedsim.data.images.channel_statistics import ChannelStatistics, cached_statistics, compute_statistics
from fedsim.data.sources import sources
from fedsim.prepare import main as prepare
from support.data_checks import pictures as arrays
from support.data_checks import refuse
from support.data_sets import (
    small_sets_may_warn,
    write_cifar10,
    write_class_folders,
    write_eurosat,
    write_flamby_isic,
)
from support.images import many_sizes, pictures, splits

pytestmark = [pytest.mark.usefixtures("cache"), small_sets_may_warn]


def by_numpy(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel [C], from all pixels at once."""
    pixels = np.concatenate([image.reshape(len(image), -1) for image in arrays(samples)], axis=1) / 255
    return pixels.mean(axis=1), pixels.std(axis=1)


@pytest.mark.parametrize(
    "samples", [pictures(count=150), pictures(count=3, channels=1), many_sizes([(9, 5), (4, 7)])[0]]
)
def test_they_are_numpys(samples: Samples) -> None:
    mean, std = compute_statistics(samples)
    theirs = by_numpy(samples)
    assert mean == pytest.approx(theirs[0], rel=1e-12)
    assert std == pytest.approx(theirs[1], rel=1e-12)


def test_neither_order_nor_grouping_changes_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = pictures(count=131)
    expected = compute_statistics(samples)
    assert compute_statistics(Subset(samples, torch.arange(131).flip(0))) == expected
    monkeypatch.setattr(channel_statistics, "AT_ONCE", 7)
    assert compute_statistics(samples) == expected


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_channel_without_spread_is_only_shifted(value: int) -> None:
    images = pictures(count=4).inputs
    images[:, 1] = value
    mean, std = compute_statistics(TensorSamples(images, torch.zeros(4, dtype=torch.int64)))
    assert (mean[1], std[1]) == (value / 255, 1.0)
    assert 0 < std[0] < 1


# Sources -----------------------------------------------------------------------------------------------------------


def test_the_published_numbers_of_mnist_are_nearly_those_of_its_5000_digits() -> None:
    """They are of the 60 000 training images of MNIST."""
    source = sources.build("mnist5k")
    data = source.load(None)
    stated = source.statistics(data)
    assert stated == ChannelStatistics((0.1307,), (0.3081,), "of mnist5k (published)")
    mean, std = by_numpy(data.train)
    assert stated.mean == pytest.approx(mean, abs=5e-4)
    assert stated.std == pytest.approx(std, abs=5e-4)


def test_published_numbers_are_of_the_published_files_of_cifar(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    other = sources.build("cifar10", verify=False)
    data = other.load(tmp_path)
    assert other.statistics(data).mean == pytest.approx(by_numpy(data.train)[0])
    published = sources.build("cifar10").statistics(data)
    assert published.mean == (0.4914, 0.4822, 0.4465)
    assert published.std == (0.2470, 0.2435, 0.2616)
    assert sources.build("cifar100").statistics(data).std == (0.2673, 0.2564, 0.2762)


def test_published_numbers_of_other_channels_are_not_taken() -> None:
    colour = pictures()
    statistics = sources.build("mnist5k").statistics(splits(colour, (3, 12, 12)))
    assert statistics.mean == pytest.approx(by_numpy(colour)[0])
    assert statistics.origin == "of mnist5k (its 6 training images)"


@pytest.mark.parametrize("name", ["image_folder", "eurosat", "fed_isic2019"])
def test_training_images_alone_are_measured(name: str, tmp_path: Path) -> None:
    writers: dict[str, Callable[[Path], object]] = {
        "image_folder": write_class_folders,
        "eurosat": write_eurosat,
        "fed_isic2019": write_flamby_isic,
    }
    writers[name](tmp_path)
    source = sources.build(name)
    data = source.load(tmp_path)
    statistics = source.statistics(data)
    mean, std = by_numpy(data.train)
    assert statistics.mean == pytest.approx(mean, rel=1e-12)
    assert statistics.std == pytest.approx(std, rel=1e-12)
    assert statistics.mean != pytest.approx(by_numpy(data.test)[0], rel=1e-6)


def test_numbers_that_are_no_images_have_none() -> None:
    source = sources.build("synthetic", shape=[3, 8, 8])
    assert source.statistics(source.load(None)) is None


# The cache ---------------------------------------------------------------------------------------------------------


def test_they_are_computed_once_and_by_preparation(
    images: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(["image_folder", "--root", str(images)]) == 0
    assert sorted(folder.name.rsplit("-", 1)[0] for folder in cache.iterdir()) == [
        "image_folder",
        "image_folder-statistics",
    ]
    computed = compute_statistics(sources.build("image_folder").load(images).train)
    monkeypatch.setattr("fedsim.data.images.image_files.read_rgb", refuse)
    monkeypatch.setattr(channel_statistics, "compute_statistics", refuse)
    source = sources.build("image_folder")
    statistics = source.statistics(source.load(images))
    assert (list(statistics.mean), list(statistics.std)) == computed


def test_other_training_images_have_their_own(images: Path) -> None:
    found = []
    for settings in ({}, {"split_seed": 1}, {"short_side": 16}):
        source = sources.build("image_folder", **settings)
        data = source.load(images)
        found.append(source.statistics(data).mean)
        assert found[-1] == pytest.approx(by_numpy(data.train)[0], rel=1e-12)
    write_class_folders(images, per_class=4, seed=5)
    source = sources.build("image_folder")
    found.append(source.statistics(source.load(images)).mean)
    assert len(set(found)) == 4


def test_what_is_not_in_the_cache_is_computed_each_time(cache: Path) -> None:
    samples = pictures()
    assert cached_statistics(samples) == compute_statistics(samples)
    assert cached_statistics(Subset(samples, torch.arange(3))) != compute_statistics(samples)
    assert list(cache.iterdir()) == []
