"""EuroSAT against torchvision, and folders that lack something."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from fedsim.data.sources import sources
from fedsim.errors import ConfigError, FedsimWarning
from support.data_checks import loading_error, pairs
from support.data_sets import (
    EUROSAT,
    small_sets_may_warn,
    write_class_folders,
    write_eurosat,
)

pytestmark = [pytest.mark.usefixtures("cache"), small_sets_may_warn]


# Images ----------------------------------------------------------------------------------------------------------


def test_eurosat_names_what_is_missing_empty_or_too_much(tmp_path: Path) -> None:
    folder = write_eurosat(tmp_path, per_class=2)
    (folder / "River").rename(tmp_path / "River")
    error = loading_error("eurosat", tmp_path)
    assert f"there is no folder {folder / 'River'}" in error.problem
    assert "fedsim.prepare eurosat" in error.remedy
    with pytest.raises(ConfigError, match="River"):
        sources.build("eurosat").check(tmp_path)
    (folder / "River").mkdir()
    (folder / "River" / ".DS_Store").write_bytes(b"x")
    assert f"{folder / 'River'} holds no image" in loading_error("eurosat", tmp_path).problem
    (folder / "River").joinpath(".DS_Store").unlink()
    (folder / "River").rmdir()
    (tmp_path / "River").rename(folder / "River")
    write_class_folders(folder, ("Desert", "Tundra"), per_class=1)
    error = loading_error("eurosat", tmp_path)
    assert f"{folder} holds other folders too: Desert, Tundra" in error.problem
    assert error.remedy == "move them"


def test_a_eurosat_without_its_first_class_is_named(tmp_path: Path) -> None:
    folder = write_eurosat(tmp_path, per_class=1)
    (folder / EUROSAT[0]).rename(tmp_path / "gone")
    assert f"there is no folder {folder / EUROSAT[0]}" in loading_error("eurosat", tmp_path).problem


# Folders of images -----------------------------------------------------------------------------------------------


@small_sets_may_warn
@pytest.mark.parametrize("place", ["eurosat/2750", "2750", "EuroSAT_RGB", "EuroSAT/2750", "."])
def test_eurosat_is_as_torchvision_reads_it_wherever_it_was_unpacked(place: str, tmp_path: Path) -> None:
    made = write_eurosat(tmp_path / "made")
    root = tmp_path / "root"
    target = root / place
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        target.rmdir()
    shutil.move(made, target)
    splits = sources.build("eurosat").load(root)
    theirs = torchvision.datasets.ImageFolder(str(target))
    assert list(splits.class_names) == theirs.classes == EUROSAT
    whole = sorted([*pairs(splits.train), *pairs(splits.test)])
    by_torchvision = [(np.asarray(image).transpose(2, 0, 1), label) for image, label in theirs]
    assert whole == sorted((image.shape, image.tobytes(), label) for image, label in by_torchvision)
    assert torch.bincount(splits.train.labels).tolist() == [8] * 10
    assert torch.bincount(splits.test.labels).tolist() == [2] * 10
    assert not {content for _, content, _ in pairs(splits.train)} & {content for _, content, _ in pairs(splits.test)}
    assert splits.input_shape == (3, 64, 64)
    assert splits.one_size


@small_sets_may_warn
def test_what_eurosat_holds_out_follows_share_and_seed(tmp_path: Path) -> None:
    write_eurosat(tmp_path)
    load = lambda **settings: pairs(sources.build("eurosat", **settings).load(tmp_path).test)  # noqa: E731
    assert load(split_seed=1) == load(split_seed=1)
    assert load(split_seed=1) != load(split_seed=2)
    assert len(load(test_share=0.5)) == 50


def test_a_small_eurosat_is_recognised_as_not_the_published_one(tmp_path: Path) -> None:
    write_eurosat(tmp_path, per_class=2)
    with pytest.warns(FedsimWarning, match="20 images, not the 27000"):
        sources.build("eurosat").load(tmp_path)
