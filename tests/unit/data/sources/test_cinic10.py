"""CINIC-10 against torchvision, and folders that lack something."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torchvision

from fedsim.data.sources import sources
from fedsim.errors import ConfigError
from support.data_checks import loading_error, pairs
from support.data_sets import CIFAR10
from support.published_images import write_cinic10

pytestmark = pytest.mark.usefixtures("cache")


def by_torchvision(*folders: Path) -> list[tuple[tuple[int, ...], bytes, int]]:
    found = []
    for folder in folders:
        for picture, label in torchvision.datasets.ImageFolder(folder):
            pixels = np.asarray(picture).transpose(2, 0, 1)
            found.append((pixels.shape, pixels.tobytes(), label))
    return sorted(found)


@pytest.mark.parametrize("place", ["CINIC-10", "cinic10", "."])
def test_images_are_those_of_torchvision_and_validation_is_joined_on_request(place: str, tmp_path: Path) -> None:
    folder = write_cinic10(tmp_path, place)
    splits = sources.build("cinic10").load(tmp_path)
    joined = sources.build("cinic10", with_validation=True).load(tmp_path)
    assert pairs(splits.train) == by_torchvision(folder / "train")
    assert pairs(joined.train) == by_torchvision(folder / "train", folder / "valid")
    assert pairs(splits.test) == pairs(joined.test) == by_torchvision(folder / "test")
    assert list(splits.class_names) == CIFAR10
    assert splits.input_shape == (3, 32, 32)


def test_what_is_missing_damaged_or_too_much_is_named(tmp_path: Path) -> None:
    folder = write_cinic10(tmp_path, per_class=1)
    shutil.rmtree(folder / "valid")
    sources.build("cinic10").check(tmp_path)
    with pytest.raises(ConfigError, match=f"there is no folder {folder / 'valid'}"):
        sources.build("cinic10", with_validation=True).check(tmp_path)
    (folder / "test" / "desert").mkdir()
    shutil.copy(next((folder / "test" / "dog").iterdir()), folder / "test" / "desert")
    assert f"{folder / 'test'} holds other folders too: desert" in loading_error("cinic10", tmp_path).problem
    shutil.rmtree(folder / "test" / "desert")
    image = next((folder / "train" / "ship").iterdir())
    image.write_bytes(image.read_bytes()[:60])
    error = loading_error("cinic10", tmp_path)
    assert f"cannot read the image {image}" in error.problem
    assert "fedsim.prepare cinic10" in error.remedy
    image.unlink()
    assert f"{folder / 'train' / 'ship'} holds no image" in loading_error("cinic10", tmp_path).problem
    shutil.rmtree(folder / "train" / "ship")
    assert f"there is no folder {folder / 'train' / 'ship'}" in loading_error("cinic10", tmp_path).problem
