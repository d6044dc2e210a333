"""Folders of images against torchvision and Pillow."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from fedsim.data.sources import sources
from fedsim.errors import ConfigError
from support.data_checks import as_pillow_reads, pairs, pictures, refuse
from support.data_sets import (
    write_class_folders,
    write_image,
)
from support.shared_data import unpack_shared

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("test_folder", ["test", "val", "validation", "valid"])
def test_an_image_folder_is_as_torchvision_reads_it(test_folder: str, tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", ("bird", "cat", "dog"), seed=1)
    write_class_folders(tmp_path / test_folder, ("bird", "cat", "dog"), per_class=3, seed=5000)
    splits = sources.build("image_folder", short_side=None).load(tmp_path)
    for samples, part in ((splits.train, "train"), (splits.test, test_folder)):
        theirs = torchvision.datasets.ImageFolder(str(tmp_path / part))
        assert list(splits.class_names) == theirs.classes
        assert samples.labels.tolist() == theirs.targets
        for ours, (image, _) in zip(pictures(samples), theirs, strict=True):
            assert np.array_equal(ours.transpose(1, 2, 0), np.asarray(image))
    assert splits.input_shape == (3, 40, 60)
    assert not splits.one_size


def test_cifar_as_jpeg_keeps_its_32_pixels(tmp_path: Path, cache: Path) -> None:
    folder = unpack_shared("cifar10_jpeg.tar.gz", range(0, 2000, 100), tmp_path) / "test"
    files = sorted(folder.glob("*/*.jpg"))
    assert len(files) > 10
    for settings in ({}, {"short_side": None}, {"short_side": 256}):
        splits = sources.build("image_folder", **settings).load(folder)
        assert splits.input_shape == (3, 32, 32)
        assert splits.one_size
    labels = {"airplane": 0, "automobile": 1}
    found = sorted([*pairs(splits.train), *pairs(splits.test)])
    assert found == as_pillow_reads([(path, labels[path.parent.name]) for path in files])
    assert {path.stat().st_size - 128 for path in cache.glob("*/pixels.npy")} == {3072 * len(files)}


def test_images_of_many_sizes_are_picked_in_any_order_and_repeatedly(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train")
    write_class_folders(tmp_path / "test", seed=7)
    samples = sources.build("image_folder", short_side=None).load(tmp_path).train
    theirs = torchvision.datasets.ImageFolder(str(tmp_path / "train"))
    order = [9, 0, 4, 4, 7]
    picked = samples.pick(torch.tensor(order))
    assert isinstance(picked, list)
    for image, index in zip(picked, order, strict=True):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(theirs[index][0]))
    assert samples.pick(torch.tensor([], dtype=torch.int64)) == []


def test_an_image_folder_without_test_folder_is_divided(tmp_path: Path) -> None:
    for layout, folder in (("bare", tmp_path / "bare"), ("train", tmp_path / "train" / "train")):
        write_class_folders(folder, per_class=10)
        splits = sources.build("image_folder", short_side=None).load(tmp_path / layout)
        files = [(path, label) for label, kind in enumerate(("cat", "dog")) for path in (folder / kind).iterdir()]
        assert sorted([*pairs(splits.train), *pairs(splits.test)]) == as_pillow_reads(files)
        assert torch.bincount(splits.train.labels).tolist() == [8, 8]
        assert torch.bincount(splits.test.labels).tolist() == [2, 2]
    half = sources.build("image_folder", test_share=0.5).load(tmp_path / "bare")
    assert torch.bincount(half.test.labels).tolist() == [5, 5]


def test_test_classes_are_numbered_as_those_to_train(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", ("ant", "bee", "cow"), per_class=2)
    write_class_folders(tmp_path / "test", ("cow", "bee"), per_class=2)
    splits = sources.build("image_folder").load(tmp_path)
    assert splits.class_names == ("ant", "bee", "cow")
    assert splits.test.labels.tolist() == [1, 1, 2, 2]
    write_class_folders(tmp_path / "test", ("dodo",), per_class=1)
    with pytest.raises(ConfigError, match=r"test has a class 'dodo' that .*train has not; give both"):
        sources.build("image_folder").load(tmp_path)


def test_images_are_decoded_once_and_again_when_one_changed(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_class_folders(tmp_path / "train")
    write_class_folders(tmp_path / "test")
    source = sources.build("image_folder", short_side=None)
    first = source.load(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", refuse)
        again = source.load(tmp_path)
        assert pairs(again.train) == pairs(first.train)
        with pytest.raises(ConfigError):  # the refusal would be seen: another size is not in the cache
            sources.build("image_folder", short_side=16).load(tmp_path)
    assert len(list(cache.iterdir())) == 1
    path = tmp_path / "train" / "cat" / "1.png"
    write_image(path, 44, 60, seed=99)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 5))
    changed = source.load(tmp_path)
    assert np.array_equal(pictures(changed.train)[1].transpose(1, 2, 0), np.asarray(Image.open(path)))
    assert pairs(changed.train) != pairs(first.train)


def test_a_new_time_alone_is_a_change(tmp_path: Path) -> None:
    """Two images of the same size on disk, one after the other under the same name."""
    write_class_folders(tmp_path / "train", per_class=1)
    write_class_folders(tmp_path / "test", per_class=1)
    path = tmp_path / "train" / "cat" / "x.bmp"
    source = sources.build("image_folder", short_side=None)
    seen = []
    for seed in (1, 2):
        write_image(path, 40, 60, seed)
        os.utime(path, ns=(0, 10**18 + seed))
        seen.append(pictures(source.load(tmp_path).train)[1])
    assert not np.array_equal(seen[0], seen[1])


def test_writing_to_samples_changes_nothing_on_disk(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", per_class=1)
    write_class_folders(tmp_path / "test", per_class=1)
    source = sources.build("image_folder")
    first = source.load(tmp_path)
    before = pairs(first.train)
    train: Any = first.train
    train.samples.inputs.zero_()
    assert pairs(first.train) != before
    assert pairs(source.load(tmp_path).train) == before
