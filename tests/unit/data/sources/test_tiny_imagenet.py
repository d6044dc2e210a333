"""Tiny ImageNet: classes, words, annotations, and what is missing."""

import shutil
from pathlib import Path

import pytest

from fedsim.data.sources import sources
from support.data_checks import as_pillow_reads, loading_error, pairs
from support.published_images import WNIDS, write_tiny_imagenet

pytestmark = pytest.mark.usefixtures("cache")


@pytest.mark.parametrize("inside", [False, True], ids=["root above the folder", "root is the folder"])
def test_images_labels_and_names_are_those_of_the_files(inside: bool, tmp_path: Path) -> None:
    """Grey images become coloured ones; the test images, which have no labels, are left."""
    folder = write_tiny_imagenet(tmp_path)
    splits = sources.build("tiny_imagenet").load(folder if inside else tmp_path)
    number = {name: label for label, name in enumerate(sorted(WNIDS))}
    train = [(path, number[path.name.split("_")[0]]) for path in folder.glob("train/*/images/*")]
    assert pairs(splits.train) == as_pillow_reads(train)
    test = [(folder / "val" / "images" / f"val_{index}.JPEG", number[WNIDS[index % 3]]) for index in range(12)]
    assert pairs(splits.test) == as_pillow_reads(test)
    assert splits.class_names == ("goldfish", "crane (n02124075)", "crane (n03126707)")
    assert splits.input_shape == (3, 64, 64)
    assert splits.one_size


def test_the_order_of_the_annotations_does_not_matter(tmp_path: Path) -> None:
    annotations = write_tiny_imagenet(tmp_path) / "val" / "val_annotations.txt"
    before = sources.build("tiny_imagenet").load(tmp_path).test.labels.tolist()
    annotations.write_text("".join(sorted(annotations.read_text().splitlines(keepends=True), reverse=True)))
    assert sources.build("tiny_imagenet").load(tmp_path).test.labels.tolist() == before


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("val/val_annotations.txt", "val_7.JPEG\tn01443537\t0\t32\t44\t62\n", "", "has no line for val_7.JPEG"),
        ("val/val_annotations.txt", "val_7.JPEG", "val_77.JPEG", "has no line for val_7.JPEG"),
        (
            "val/val_annotations.txt",
            "\tn01443537\t0",
            "\tn99999999\t0",
            "line 2: no name of an image and one of the 3",
        ),
        ("val/val_annotations.txt", "val_1.JPEG\tn01443537", "val_1.JPEG n01443537", "line 2"),
        ("val/val_annotations.txt", "val_1.JPEG", "../../x.JPEG", "line 2"),
        ("words.txt", "n01443537\t", "n91443537\t", "has no line for the class n01443537"),
        ("words.txt", "n01443537\tgoldfish", "n01443537", "has no line for the class n01443537"),
    ],
)
def test_a_damaged_table_is_named(name: str, old: str, new: str, says: str, tmp_path: Path) -> None:
    path = write_tiny_imagenet(tmp_path) / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    error = loading_error("tiny_imagenet", tmp_path)
    assert str(path) in error.problem
    assert says in error.problem
    assert "fedsim.prepare tiny_imagenet --root" in error.remedy


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = write_tiny_imagenet(tmp_path / "whole")
    for name in (
        "words.txt",
        "val/val_annotations.txt",
        "val/images/val_3.JPEG",
        "train/n01443537/images",
        "val/images",
    ):
        root = tmp_path / name.replace("/", "_")
        shutil.copytree(folder.parent, root)
        gone = root / folder.name / name
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
        problem = loading_error("tiny_imagenet", root).problem
        assert str(gone) in problem or f"{gone.parent} holds no image" in problem
    (folder / "words.txt").write_bytes(b"\xff\xfe\xff")
    assert f"{folder / 'words.txt'} is not text" in loading_error("tiny_imagenet", folder.parent).problem
