"""SVHN against torchvision, and damaged MATLAB files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torchvision

from fedsim.data import Samples
from fedsim.data.sources import sources
from fedsim.errors import ConfigError
from support.data_checks import cut_short, loading_error, pictures
from support.published_images import random_images, write_svhn

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(autouse=True)
def any_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision accepts files that are not the published ones."""
    monkeypatch.setattr(torchvision.datasets.svhn, "check_integrity", lambda path, md5=None: True)


def same(samples: Samples, *theirs: Any) -> None:
    assert np.array_equal(np.stack(pictures(samples)), np.concatenate([each.data for each in theirs]))
    assert samples.labels.tolist() == np.concatenate([each.labels for each in theirs]).tolist()


@pytest.mark.parametrize("place", [".", "svhn"])
def test_images_and_labels_are_those_of_torchvision(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedsim.data.sources.svhn.AT_ONCE", 7)
    folder = write_svhn(tmp_path / place)
    train, test, extra = (torchvision.datasets.SVHN(folder, split=split) for split in ("train", "test", "extra"))
    splits = sources.build("svhn").load(tmp_path)
    same(splits.train, train)
    same(splits.test, test)
    both = sources.build("svhn", extra=True).load(tmp_path)
    same(both.train, train, extra)
    same(both.test, test)
    assert splits.class_names == tuple("0123456789")
    assert splits.input_shape == (3, 32, 32)
    assert set(splits.train.labels.tolist()) == set(range(10))


def test_extra_is_only_asked_for_where_it_is_used(tmp_path: Path) -> None:
    folder = write_svhn(tmp_path)
    (folder / "extra_32x32.mat").unlink()
    sources.build("svhn").check(tmp_path)
    with pytest.raises(ConfigError, match=r"there is no file .*extra_32x32\.mat"):
        sources.build("svhn", extra=True).check(tmp_path)


IMAGES = random_images(20, 32, 32, 3).transpose(1, 2, 3, 0)
LABELS = (np.arange(20) % 10 + 1).astype(np.uint8)[:, None]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"y": LABELS}, "no images [32, 32, 3, n] under 'X'"),
        ({"X": IMAGES}, "no label for each of 20 images under 'y'"),
        ({"X": IMAGES.astype(np.float64), "y": LABELS}, "its images under 'X' are not of bytes"),
        ({"X": IMAGES.transpose(3, 0, 1, 2), "y": LABELS}, "no images [32, 32, 3, n] under 'X'"),
        ({"X": IMAGES, "y": LABELS[:-1]}, "no label for each of 20 images"),
        ({"X": IMAGES, "y": LABELS - 1}, "label 0 of sample 0 is not from 1 to 10"),
        ({"X": IMAGES, "y": LABELS + 1}, "label 11 of sample 9 is not from 1 to 10"),
        ({"X": IMAGES, "y": np.array([["a"] * 20])}, "no label for each of 20 images"),
        ({"X": IMAGES, "y": np.full((20, 1), np.nan)}, "no label for each of 20 images"),
        ({"X": {"a": IMAGES}, "y": LABELS}, "no images [32, 32, 3, n] under 'X'"),
    ],
)
def test_a_file_of_other_content_is_named(content: dict[str, Any], says: str, tmp_path: Path) -> None:
    folder = write_svhn(tmp_path)
    scipy.io.savemat(folder / "train_32x32.mat", content, do_compression=True)
    error = loading_error("svhn", tmp_path)
    assert f"{folder / 'train_32x32.mat'} is not usable" in error.problem
    assert says in error.problem
    assert "fedsim.prepare svhn --root" in error.remedy


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = write_svhn(tmp_path) / "test_32x32.mat"
    whole = path.read_bytes()
    hdf5 = b"MATLAB 7.3 MAT-file".ljust(124, b" ") + b"\x00\x02IM" + b"\x89HDF"
    for content in (cut_short(whole), whole[:100], b"", b"<html></html>" * 20, hdf5, bytes(200)):
        path.write_bytes(content)
        assert f"{path} is not usable: " in loading_error("svhn", tmp_path).problem
