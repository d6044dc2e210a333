"""MNIST, Fashion-MNIST and EMNIST against torchvision, and files that are damaged or do not fit."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from PIL import Image, ImageDraw

from fedsim.data import Samples
from fedsim.data.sources import sources
from support.data_checks import loading_error, pictures
from support.published_images import (
    EMNIST,
    idx,
    random_images,
    write_emnist,
    write_fashion_mnist,
    write_idx,
    write_mnist,
)

pytestmark = pytest.mark.usefixtures("cache")


def same(samples: Samples, theirs: Any, first: int = 0, transposed: bool = False) -> None:
    """As torchvision shows them, one by one."""
    assert len(samples) == len(theirs)
    for ours, label, (picture, their_label) in zip(pictures(samples), samples.labels.tolist(), theirs, strict=True):
        pixels = np.asarray(picture)
        assert np.array_equal(ours[0], pixels.T if transposed else pixels)
        assert label == their_label - first


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_images_and_labels_are_those_of_torchvision(name: str, tmp_path: Path) -> None:
    write, kind = {
        "mnist": (write_mnist, torchvision.datasets.MNIST),
        "fashion_mnist": (write_fashion_mnist, torchvision.datasets.FashionMNIST),
    }[name]
    write(tmp_path)
    splits = sources.build(name).load(tmp_path)
    for samples, train in ((splits.train, True), (splits.test, False)):
        same(samples, kind(tmp_path, train=train))
    names = [each.split(" - ")[0] for each in kind.classes]  # "0 - zero"
    assert list(splits.class_names) == names
    assert splits.input_shape == (1, 28, 28)


@pytest.mark.parametrize("split", list(EMNIST))
def test_emnist_is_that_of_torchvision_but_upright(split: str, tmp_path: Path) -> None:
    write_emnist(tmp_path, split)
    splits = sources.build("emnist", split=split).load(tmp_path)
    first = EMNIST[split][0]
    for samples, train in ((splits.train, True), (splits.test, False)):
        theirs = torchvision.datasets.EMNIST(tmp_path, split=split, train=train)
        same(samples, theirs, first, transposed=True)
    assert list(splits.class_names) == theirs.classes[first:]
    assert splits.num_classes == EMNIST[split][1]


def test_a_letter_that_emnist_stores_lying_down_stands_upright(tmp_path: Path) -> None:
    """The published files hold the transposes of upright images, and 6 for the letter f."""
    picture = Image.new("L", (28, 28))
    ImageDraw.Draw(picture).text((8, 4), "F", fill=255, font_size=18)
    upright = np.asarray(picture)
    stored = np.ascontiguousarray(upright.T)[None]
    for side in ("train", "test"):
        write_idx(tmp_path, f"emnist-letters-{side}", stored, np.array([6], dtype=np.uint8))
    splits = sources.build("emnist", split="letters").load(tmp_path)
    assert np.array_equal(pictures(splits.train)[0][0], upright)
    assert splits.class_names[splits.train.labels[0]] == "f"


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("folder", ["MNIST/raw", "MNIST", "."])
def test_files_are_found_where_they_are_usual(folder: str, compressed: bool, tmp_path: Path) -> None:
    write_mnist(tmp_path / "root", folder, compressed)
    write_mnist(tmp_path / "theirs")
    splits = sources.build("mnist").load(tmp_path / "root")
    same(splits.train, torchvision.datasets.MNIST(tmp_path / "theirs", train=True))


def test_emnist_is_found_as_its_archive_unpacks(tmp_path: Path) -> None:
    write_emnist(tmp_path, folder="gzip", compressed=True)
    assert len(sources.build("emnist").load(tmp_path).train) == 94


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path)
    before = pictures(sources.build("mnist").load(tmp_path).test)
    write_idx(folder, "t10k", random_images(12, 28, 28, seed=7), np.arange(12, dtype=np.uint8) % 10)
    after = pictures(sources.build("mnist").load(tmp_path).test)
    assert (len(before), len(after)) == (10, 12)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path)
    labels, images = folder / "train-labels-idx1-ubyte", folder / "train-images-idx3-ubyte"
    cases = [
        (labels, idx(np.arange(19, dtype=np.uint8)), f"{images} holds 20 images, but {labels} 19 labels"),
        (labels, idx(np.full(20, 10, dtype=np.uint8)), f"{labels} is not usable: label 10 of sample 0"),
        (images, idx(random_images(20, 32, 32)), f"{images} holds images of 32 x 32, not of 28 x 28"),
        (images, idx(random_images(20, 28, 28))[:-9], f"{images} is not usable: it is cut off after 19 of 20 images"),
        (labels, idx(random_images(20, 28, 28)), f"{labels} is not usable: it begins with 00 00 08 03"),
    ]
    for path, content, says in cases:
        whole = path.read_bytes()
        path.write_bytes(content)
        error = loading_error("mnist", tmp_path)
        assert says in error.problem
        assert "fedsim.prepare mnist --root" in error.remedy
        path.write_bytes(whole)
    assert len(sources.build("mnist").load(tmp_path).train) == 20


def test_letters_begin_at_one(tmp_path: Path) -> None:
    folder = write_emnist(tmp_path, "letters")
    path = folder / "emnist-letters-test-labels-idx1-ubyte"
    for wrong in (0, 27):
        path.write_bytes(idx(np.array([1] * 25 + [wrong], dtype=np.uint8)))
        assert (
            f"label {wrong} of sample 25 is not from 1 to 26"
            in loading_error("emnist", tmp_path, split="letters").problem
        )


def test_the_remedy_names_the_settings_too(tmp_path: Path) -> None:
    error = loading_error("emnist", tmp_path, split="letters")
    assert f"`python -m fedsim.prepare emnist --root {tmp_path} split=letters` fetches" in error.remedy


def test_no_images_at_all_are_an_error(tmp_path: Path) -> None:
    write_idx(write_mnist(tmp_path), "t10k", random_images(0, 28, 28), np.empty(0, dtype=np.uint8))
    assert "holds no images to test" in loading_error("mnist", tmp_path).problem


def test_each_missing_file_is_named(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path / "whole")
    for path in sorted(folder.iterdir()):
        root = tmp_path / path.name
        shutil.copytree(tmp_path / "whole", root)
        (root / "MNIST" / "raw" / path.name).unlink()
        assert f"there is no file {root / 'MNIST/raw' / path.name}" in loading_error("mnist", root).problem
