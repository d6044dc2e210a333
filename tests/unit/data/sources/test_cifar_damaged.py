"""CIFAR files of the wrong content, and missing ones, are named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsim.data.sources import sources
from support.data_checks import loading_error
from support.data_sets import (
    python2_pickle,
    small_sets_may_warn,
    write_cifar10,
    write_cifar100,
)

pytestmark = [pytest.mark.usefixtures("cache"), small_sets_may_warn]
PIXELS = np.zeros((2, 3072), dtype=np.uint8)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"data": PIXELS}, "no class below 10 for each image under 'labels'"),
        ({"labels": [0, 1]}, "no images of 3 x 32 x 32 bytes under 'data'"),
        ({}, "no images"),
        ({"data": PIXELS[:, :3071], "labels": [0, 1]}, "no images"),
        ({"data": PIXELS.reshape(2, 3, 32, 32), "labels": [0, 1]}, "no images"),
        ({"data": PIXELS[0], "labels": [0]}, "no images"),
        ({"data": [1, 2], "labels": [0, 1]}, "no images"),
        ({"data": PIXELS, "labels": [0]}, "no class"),
        ({"data": PIXELS, "labels": [0, 1, 2]}, "no class"),
        ({"data": PIXELS, "labels": [0, 10]}, "no class"),
        ({"data": PIXELS, "labels": [-1, 0]}, "no class"),
        ({"data": PIXELS, "labels": [0, 256]}, "no class"),
        ({"data": PIXELS, "labels": [True, False]}, "no class"),
        ({"data": PIXELS, "labels": ["0", "1"]}, "no class"),
        ({"data": PIXELS, "labels": [[0], [1]]}, "no class"),
        ({"data": PIXELS, "labels": 3}, "no class"),
        ({"data": PIXELS, "labels": np.zeros(2, dtype=np.uint8)}, "no class"),
        ({"data": PIXELS, "fine_labels": [0, 1]}, "no class"),
        ({"data": PIXELS.astype(np.uint16), "labels": [0, 1]}, "something else than bytes"),
        ({"data": PIXELS.astype(np.float32), "labels": [0, 1]}, "something else than bytes"),
    ],
)
def test_batches_of_the_wrong_content_are_refused(
    content: dict[Any, Any], said: str, tmp_path: Path, cache: Path
) -> None:
    folder = write_cifar10(tmp_path, per_batch=2)
    for name in ("data_batch_2", "test_batch"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(python2_pickle(content))
        error = loading_error("cifar10", tmp_path)
        assert str(folder / name) in error.problem
        assert said in error.problem
        assert "fedsim.prepare cifar10 --root" in error.remedy
        (folder / name).write_bytes(whole)
    assert list(cache.iterdir()) == []
    assert len(sources.build("cifar10").load(tmp_path).train) == 10


def test_fine_labels_of_cifar100_are_checked_too(tmp_path: Path) -> None:
    folder = write_cifar100(tmp_path, train=2, test=2)
    for labels in ([0, 100], [0], [0, -1]):
        (folder / "train").write_bytes(
            python2_pickle({"data": PIXELS, "fine_labels": labels, "coarse_labels": [0, 1]})
        )
        assert "no class below 100 for each image under 'fine_labels'" in loading_error("cifar100", tmp_path).problem


@pytest.mark.parametrize(
    "content",
    [{}, {"label_names": ["a"] * 9}, {"label_names": "abcdefghij"}, {"fine_label_names": ["a"] * 10}],
    ids=["nothing", "nine", "a text", "another key"],
)
def test_a_file_without_ten_names_is_named(content: dict[Any, Any], tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=1)
    (folder / "batches.meta").write_bytes(python2_pickle(content))
    error = loading_error("cifar10", tmp_path)
    assert f"{folder / 'batches.meta'} is not usable: no 10 names under 'label_names'" in error.problem


@pytest.mark.parametrize(
    "name", [b"]" * 100_000 + b"a" * 99_999, b"N", b"]" + b"2a" * 3], ids=["deep", "none", "own"]
)
def test_names_of_classes_that_are_no_text_are_refused(name: bytes, tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=1)
    (folder / "batches.meta").write_bytes(b"\x80\x02}U\x0blabel_names](" + name + b"K\x01" * 9 + b"es.")
    assert str(folder / "batches.meta") in loading_error("cifar10", tmp_path).problem


def test_missing_files_and_folders_in_the_place_of_files_are_named(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=1)
    for name in ("data_batch_5", "test_batch", "batches.meta"):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        assert f"there is no file {folder / name}" in loading_error("cifar10", tmp_path).problem
        (folder / name).mkdir()
        assert f"there is no file {folder / name}" in loading_error("cifar10", tmp_path).problem
        (folder / name).rmdir()
        (folder / name).write_bytes(content)
