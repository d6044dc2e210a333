"""A folder for each class: what is held out, what is hidden, what is missing."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fedsim.data.images.class_folders import held_out
from fedsim.data.sources import sources
from support.data_checks import loading_error
from support.data_sets import (
    small_sets_may_warn,
    write_class_folders,
    write_eurosat,
)

pytestmark = [pytest.mark.usefixtures("cache"), small_sets_may_warn]


# Images ----------------------------------------------------------------------------------------------------------


def test_hidden_and_foreign_files_are_not_taken_for_images(tmp_path: Path) -> None:
    folder = write_eurosat(tmp_path, per_class=3)
    before = sources.build("eurosat").load(tmp_path)
    for place in (folder, folder / "Forest"):
        for name in (".DS_Store", "._Forest_1.jpg", ".hidden.png", "Thumbs.db", "README.txt"):
            (place / name).write_bytes(b"no image")
    (folder / ".ipynb_checkpoints").mkdir()
    after = sources.build("eurosat").load(tmp_path)
    assert len(after.train) == len(before.train) == 20
    assert after.class_names == before.class_names


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", ".thumbnails", ".Trash-1000/files"])
def test_images_in_hidden_folders_are_hidden(hidden: str, images: Path) -> None:
    write_class_folders(images / "cat" / hidden, ("x",), per_class=2, seed=500)
    splits = sources.build("image_folder").load(images)
    assert len(splits.train) + len(splits.test) == 8


def test_image_folders_without_classes_are_named(tmp_path: Path) -> None:
    assert f"{tmp_path} does not hold a folder for each class" in loading_error("image_folder", tmp_path).problem
    write_class_folders(tmp_path, ("only",))
    assert f"put images into {tmp_path}/train/<class>/" in loading_error("image_folder", tmp_path).remedy
    (tmp_path / "void").mkdir()
    assert f"{tmp_path / 'void'} holds no image" in loading_error("image_folder", tmp_path).problem
    for missing in (tmp_path / "none", tmp_path / "only" / "0.jpg"):
        assert f"there is no folder {missing}" in loading_error("image_folder", missing).problem


def test_a_link_to_nowhere_is_named(images: Path) -> None:
    (images / "cat" / "link.jpg").symlink_to(images / "gone.jpg")
    error = loading_error("image_folder", images)
    assert f"cannot read {images / 'cat' / 'link.jpg'}: No such file or directory" in error.problem
    assert error.remedy == "replace or remove it"


@pytest.mark.parametrize("which", [".", "cat", "cat/inner"])
def test_a_folder_that_may_not_be_read_is_named(which: str, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its images would be missing silently otherwise."""
    write_class_folders(images / "cat", ("inner",), per_class=2, seed=900)
    closed = os.path.normpath(images / which)
    scandir, listdir = os.scandir, os.listdir

    def denied(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any = ".") -> Any:
            if not isinstance(path, int) and os.path.normpath(path) == closed:
                raise PermissionError(13, "Permission denied", str(path))
            return function(path)

        return call

    monkeypatch.setattr(os, "scandir", denied(scandir))
    monkeypatch.setattr(os, "listdir", denied(listdir))
    error = loading_error("image_folder", images)
    assert closed in error.problem
    assert "Permission denied" in error.problem


def test_names_of_any_bytes_are_read(images: Path) -> None:
    os.rename(images / "cat", os.fsencode(images) + b"/c\xff t\n")
    splits = sources.build("image_folder").load(images)
    assert len(splits.train) + len(splits.test) == 8


# Held out, synthetic, MNIST --------------------------------------------------------------------------------------


def test_held_out_samples_are_stratified_and_seeded() -> None:
    labels = torch.tensor([2] * 1 + [0] * 100 + [1] * 7 + [5] * 2)[torch.randperm(110)]
    chosen = held_out(labels, 0.3, seed=4)
    assert [int(chosen[labels == label].sum()) for label in (0, 1, 2, 5)] == [30, 2, 0, 1]
    assert torch.equal(chosen, held_out(labels, 0.3, seed=4))
    assert not torch.equal(chosen, held_out(labels, 0.3, seed=5))
    assert [int(held_out(labels, 0.99, seed=0)[labels == label].sum()) for label in (0, 1, 2, 5)] == [99, 6, 0, 1]
    together = torch.stack([held_out(labels, 0.3, seed).int() for seed in range(60)]).sum(0)
    assert bool((together[labels == 0] > 0).all())  # no sample is for training always
    assert int(together[labels == 0].max()) < 40


def test_each_class_is_drawn_by_itself() -> None:
    few, many = torch.tensor([0] * 20), torch.tensor([0] * 20 + [1] * 30)
    assert torch.equal(held_out(few, 0.2, 0), held_out(many, 0.2, 0)[:20])
