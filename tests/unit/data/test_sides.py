"""Classes that only one side has, sides without samples, classes with one image: said, with and without decoding."""

from pathlib import Path

import pytest
import torch
from PIL import Image, ImageFile

from fedsim.data.labels import IGNORED
from fedsim.data.sides import check_sides
from fedsim.data.sources import sources
from fedsim.errors import ConfigError, FedsimWarning
from fedsim.prepare import main
from support.data_checks import refuse
from support.data_sets import (
    isic_rows,
    small_sets_may_warn,
    write_class_folders,
    write_eurosat,
    write_flamby_isic,
    write_rows,
)

pytestmark = pytest.mark.usefixtures("cache")


def labels(*classes: int) -> torch.Tensor:
    return torch.tensor(classes, dtype=torch.int64)


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        (labels(0, 1, 2), labels(0, 2), "class 'b' has training samples but no test samples"),
        (labels(0, 2), labels(0, 1, 2), "class 'b' has test samples but no training samples"),
        (labels(1), labels(0, 2), "classes 'a', 'c' have test samples but no training samples"),
    ],
)
@pytest.mark.filterwarnings("ignore:class 'b' has training")
def test_classes_that_one_side_lacks_are_named(train: torch.Tensor, test: torch.Tensor, said: str) -> None:
    with pytest.warns(FedsimWarning, match=said):
        check_sides(train, test, ("a", "b", "c"))


def test_of_many_classes_a_few_are_named() -> None:
    with pytest.warns(FedsimWarning, match=r"classes '1', '2', '3', '4', '5' and 14 more have"):
        check_sides(torch.arange(20), labels(0), tuple(map(str, range(20))))


@pytest.mark.parametrize(("train", "test", "side"), [(labels(), labels(0), "train"), (labels(0), labels(), "test")])
def test_a_side_without_samples_is_refused(train: torch.Tensor, test: torch.Tensor, side: str) -> None:
    with pytest.raises(ConfigError, match=f"there are no samples to {side}"):
        check_sides(train, test, ("a",))


@small_sets_may_warn
@pytest.mark.parametrize("name", ["image_folder", "eurosat"])
def test_one_image_a_class_leaves_none_for_testing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "eurosat":
        write_eurosat(tmp_path, per_class=1)
    else:
        write_class_folders(tmp_path, ("ant", "bee", "cow"), per_class=1)
    source = sources.build(name)
    monkeypatch.setattr(Image, "open", refuse)
    for look in (source.survey, source.load):
        with pytest.raises(ConfigError, match="every class has a single image, so none can be held out for testing"):
            look(tmp_path)
    assert main([name, "--root", str(tmp_path)]) == 2
    assert "every class has a single image" in capsys.readouterr().err


def test_a_class_that_is_not_tested_is_said_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_class_folders(tmp_path / "train", ("ant", "bee", "cow"))
    write_class_folders(tmp_path / "valid", ("bee",))
    with monkeypatch.context() as patch:
        patch.setattr(ImageFile.ImageFile, "load", refuse)
        with pytest.warns(FedsimWarning, match="classes 'ant', 'cow' have training samples but no test samples"):
            sources.build("image_folder").survey(tmp_path)
    assert main(["image_folder", "--root", str(tmp_path)]) == 0
    assert "fedsim: warning: classes 'ant', 'cow' have training samples" in capsys.readouterr().err


def test_a_test_folder_without_images_is_named(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train")
    (tmp_path / "test").mkdir()
    with pytest.raises(ConfigError, match="test does not hold a folder for each class"):
        sources.build("image_folder").survey(tmp_path)


def test_the_survey_of_isic_looks_at_table_and_names(tmp_path: Path) -> None:
    folder = write_flamby_isic(tmp_path, count=24)
    source = sources.build("fed_isic2019")
    source.survey(tmp_path)
    rows = isic_rows(24)
    write_rows(tmp_path / "train_test_split", [row for row in rows if row["target"] != "5" or row["fold"] == "train"])
    with pytest.warns(FedsimWarning, match="class 'DF' has training samples but no test samples"):
        source.survey(tmp_path)
    write_rows(tmp_path / "train_test_split", rows)
    for number in (3, 4):
        (folder / f"{rows[number]['image']}.jpg").unlink()
    with pytest.raises(
        ConfigError, match=rf"2 of {len(rows)} images of the split are not in {folder} \({rows[3]['image']}\.jpg\)"
    ):
        source.survey(tmp_path)


@pytest.mark.parametrize(
    ("train", "said"),
    [
        (torch.tensor([[0, 1], [2, 3]]), "sample 1 to train has the class 3; classes go from 0 to 2"),
        (torch.tensor([0, -1]), "sample 1 to train has the class -1; classes go from 0 to 2"),
        (torch.tensor([[0, 1], [IGNORED, IGNORED]]), "sample 1 to train has no class at any position"),
        (torch.tensor([0, IGNORED]), "sample 1 to train has no class; give it one"),
    ],
)
def test_labels_that_are_no_classes_are_refused(train: torch.Tensor, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_sides(train, labels(0, 1, 2), ("a", "b", "c"))


def test_classes_of_positions_are_looked_for_at_all_of_them() -> None:
    with pytest.warns(FedsimWarning, match="^class 'c' has test samples but no training samples"):
        check_sides(torch.tensor([[0, IGNORED], [0, 1]]), labels(0, 1, 2), ("a", "b", "c"))
