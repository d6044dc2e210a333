"""MedMNIST: every set with one label, as numpy reads it; others are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsim.data.formats.medmnist_classes import CLASSES, NOT_READ
from fedsim.data.sources import sources
from fedsim.errors import ConfigError
from support.data_checks import cut_short, loading_error, pictures
from support.published_images import medmnist_arrays, random_images, write_medmnist

pytestmark = pytest.mark.usefixtures("cache")


def channels_first(images: np.ndarray) -> np.ndarray:
    return np.moveaxis(images, -1, 1) if images.ndim == 4 else images[:, None]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("validation", [False, True])
def test_images_and_labels_are_those_of_numpy(
    channels: int, validation: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedsim.data.sources.medmnist.AT_ONCE", 5)
    write_medmnist(tmp_path, channels=channels)
    splits = sources.build("medmnist", with_validation=validation).load(tmp_path)
    with np.load(tmp_path / "pathmnist.npz") as theirs:
        for samples, parts in (
            (splits.train, ["train", "val"] if validation else ["train"]),
            (splits.test, ["test"]),
        ):
            images = np.concatenate([channels_first(theirs[f"{part}_images"]) for part in parts])
            assert np.array_equal(np.stack(pictures(samples)), images)
            assert samples.labels.tolist() == [int(y) for part in parts for y in theirs[f"{part}_labels"][:, 0]]
    assert splits.input_shape == (channels, 28, 28)


def test_each_set_and_size_has_its_file_and_classes(tmp_path: Path) -> None:
    for name, classes in CLASSES.items():
        write_medmnist(tmp_path, name, classes=len(classes), per_class=1)
        assert sources.build("medmnist", dataset=name).load(tmp_path).class_names == classes
    write_medmnist(tmp_path, "breastmnist_64", classes=2, size=64, channels=1)
    large = sources.build("medmnist", dataset="breastmnist", size=64).load(tmp_path)
    assert large.input_shape == (1, 64, 64)
    assert large.class_names == ("malignant", "normal, benign")


def test_sets_without_one_label_or_with_depth_are_refused_in_one_sentence() -> None:
    assert len(CLASSES) + len(NOT_READ) == 18  # twelve flat sets and six with depth were published
    for name in NOT_READ:
        with pytest.raises(ConfigError, match=f"{name} is not supported: its images") as raised:
            sources.build("medmnist", dataset=name)
        assert raised.value.key == "dataset"
        assert "pathmnist" in raised.value.remedy
    with pytest.raises(ConfigError, match="did you mean 'pathmnist'"):
        sources.build("medmnist", dataset="pathmnst")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"val_images": None}, ""),  # not read without `with_validation`
        ({"train_images": None}, "it holds no 'train_images'"),
        ({"test_labels": None}, "it holds no 'test_labels'"),
        ({"train_labels": np.full((18, 1), 9, dtype=np.uint8)}, "'train_labels': label 9 of sample 0"),
        ({"train_labels": np.full((18, 1), -1)}, "'train_labels': label -1 of sample 0"),
        (
            {"train_labels": np.zeros((18, 14), dtype=np.uint8)},
            "'train_labels' is uint8 [18, 14], not one whole number",
        ),
        ({"train_labels": np.zeros((17, 1), dtype=np.uint8)}, "for each of 18 images"),
        ({"train_labels": np.zeros((18, 1))}, "'train_labels' is float64 [18, 1]"),
        ({"test_labels": np.array([[None]] * 18, dtype=object)}, "'test_labels' holds pickled objects"),
        ({"train_images": np.zeros((18, 28, 28, 3))}, "'train_images' is float64 [18, 28, 28, 3], not bytes"),
        ({"train_images": random_images(18, 28, 28, 28)}, "'train_images' is uint8 [18, 28, 28, 28]"),
        ({"train_images": random_images(18, 64, 64, 3)}, "not bytes [n, 28, 28]"),
        ({"test_images": random_images(18, 28, 28)}, "'test_images' is [18, 28, 28], but 'train_images' is"),
    ],
)
def test_an_archive_of_other_content_is_named(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    arrays = {**medmnist_arrays(), **changes}
    np.savez_compressed(
        tmp_path / "pathmnist.npz", **{key: value for key, value in arrays.items() if value is not None}
    )
    if not says:
        assert len(sources.build("medmnist").load(tmp_path).train) == 18
        return
    error = loading_error("medmnist", tmp_path)
    assert f"{tmp_path / 'pathmnist.npz'} is not usable: " in error.problem
    assert says in error.problem
    assert "zenodo" in error.remedy


def test_a_damaged_or_missing_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pathmnist.npz"
    assert f"there is no file {path}" in loading_error("medmnist", tmp_path).problem
    write_medmnist(tmp_path)
    path.write_bytes(cut_short(path.read_bytes()))
    assert f"{path} is not usable" in loading_error("medmnist", tmp_path).problem
