"""CIFAR files of the wrong content, and of other content than the published."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from fedsim.data.sources import sources
from support.cifar import PIXELS, Published, array_pickle, refused
from support.data_sets import python2_pickle, write_cifar10, write_cifar100

pytestmark = pytest.mark.usefixtures("cache")


# Contents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"\x80\x02].", b"\x80\x02N.", b"I1\n.", b"\x80\x02U\x01a.", b"\x80\x02}K\x01K\x01s."]
)
def test_what_is_no_dictionary_of_texts_is_refused(content: bytes, tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=1)
    (folder / "test_batch").write_bytes(content)
    assert "it holds no dictionary with keys of text" in refused(tmp_path).problem


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"data": PIXELS}, "no class below 10 for each image under 'labels'"),
        ({"labels": [0, 1]}, "no images of 3 x 32 x 32 bytes under 'data'"),
        ({}, "no images"),
        ({"data": PIXELS[:, :3071], "labels": [0, 1]}, "no images"),
        ({"data": PIXELS.reshape(2, 3, 32, 32), "labels": [0, 1]}, "no images"),
        ({"data": PIXELS[0], "labels": [0]}, "no images"),
        ({"data": [1, 2], "labels": [0, 1]}, "no images"),
        ({"data": PIXELS.astype(np.uint16), "labels": [0, 1]}, "no images"),
        ({"data": PIXELS.astype(np.float32), "labels": [0, 1]}, "no images"),
        ({"data": PIXELS, "labels": [0]}, "no class"),
        ({"data": PIXELS, "labels": [0, 1, 2]}, "no class"),
        ({"data": PIXELS, "labels": [0, 10]}, "no class"),
        ({"data": PIXELS, "labels": [-1, 0]}, "no class"),
        ({"data": PIXELS, "labels": [True, False]}, "no class"),
        ({"data": PIXELS, "labels": ["0", "1"]}, "no class"),
        ({"data": PIXELS, "labels": 3}, "no class"),
        ({"data": PIXELS, "labels": np.zeros(2, dtype=np.uint8)}, "no class"),
        ({"data": PIXELS, "fine_labels": [0, 1]}, "no class"),
    ],
)
def test_batches_of_the_wrong_content_are_refused(
    content: dict[Any, Any], problem: str, tmp_path: Path, cache: Path
) -> None:
    folder = write_cifar10(tmp_path, per_batch=2)
    for name in ("data_batch_2", "test_batch"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(python2_pickle(content))
        error = refused(tmp_path)
        assert f"{folder / name} is not usable: {problem}" in error.problem
        (folder / name).write_bytes(whole)
    assert list(cache.iterdir()) == []
    assert len(sources.build("cifar10", verify=False).load(tmp_path).train) == 10


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=2)
    (folder / "test_batch").write_bytes(array_pickle(b"(K\x01t", code=b"O8", content=b"](cos\nsystem\ne"))
    assert "it asks for os.system" in refused(tmp_path).problem
    (folder / "test_batch").write_bytes(array_pickle(b"(K\x01t", code=b"O8", content=b"](K\x01e"))
    assert f"{folder / 'test_batch'} is not usable" in refused(tmp_path).problem


def test_fine_labels_of_cifar100_are_checked_too(tmp_path: Path) -> None:
    folder = write_cifar100(tmp_path, train=2, test=2)
    for labels in ([0, 100], [0], [0, -1]):
        (folder / "train").write_bytes(python2_pickle({"data": PIXELS, "fine_labels": labels}))
        assert "no class below 100 for each image under 'fine_labels'" in refused(tmp_path, "cifar100").problem


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"label_names": ["a"] * 9},
        {"label_names": "abcdefghij"},
        {"fine_label_names": ["a"] * 10},
        {"label_names": [1] * 10},
    ],
    ids=["nothing", "nine", "a text", "another key", "numbers"],
)
def test_a_file_without_ten_names_is_named(content: dict[Any, Any], tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=1)
    (folder / "batches.meta").write_bytes(python2_pickle(content))
    problem = refused(tmp_path).problem
    assert f"{folder / 'batches.meta'} is not usable: no 10 names under 'label_names'" in problem


def test_missing_files_and_folders_in_the_place_of_files_are_named(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=1)
    for name in ("data_batch_5", "test_batch", "batches.meta"):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        assert f"there is no file {folder / name}" in refused(tmp_path).problem
        (folder / name).mkdir()
        assert f"there is no file {folder / name}" in refused(tmp_path).problem
        (folder / name).rmdir()
        (folder / name).write_bytes(content)


# Checksums -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "write"), [("cifar10", "CIFAR10", write_cifar10), ("cifar100", "CIFAR100", write_cifar100)]
)
def test_published_files_load_and_any_other_is_named(
    name: str, kind: str, write: Callable[[Path], Path], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path)
    monkeypatch.setattr(torchvision.datasets, kind, Published(folder))
    splits = sources.build(name).load(tmp_path)
    other = sources.build(name, verify=False).load(tmp_path)
    assert splits.class_names == other.class_names
    everything = torch.arange(len(splits.train))
    pictures, others = (torch.stack(list(each.train.pick(everything))) for each in (splits, other))
    assert torch.equal(pictures, others)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        path.write_bytes(content + b" ")  # pickle does not read it, but the file is another one
        error = refused(tmp_path, name, verify=True)
        assert f"{path} is not the published file" in error.problem
        assert "verify" in error.remedy
        sources.build(name, verify=False).load(tmp_path)
        refused(tmp_path, name, verify=True)  # nor does the cache of the other setting help
        path.write_bytes(content)


def test_nothing_is_unpickled_of_a_file_that_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpickled(raw: bytes) -> Any:
        raise AssertionError("this file should not be unpickled")

    monkeypatch.setattr("fedsim.data.sources.cifar._unpickled", unpickled)
    folder = write_cifar10(tmp_path, per_batch=1)
    assert f"{folder / 'data_batch_1'} is not the published file" in refused(tmp_path, verify=True).problem
