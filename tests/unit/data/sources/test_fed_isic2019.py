"""Fed-ISIC2019 as FLamby leaves it, and faults of its split."""

import os
from pathlib import Path

import pytest

from fedsim.data.sources import sources
from support.data_checks import columns_by_image, cut_short, loading_error
from support.data_sets import (
    isic_rows,
    small_sets_may_warn,
    write_flamby_isic,
    write_rows,
)

pytestmark = [pytest.mark.usefixtures("cache"), small_sets_may_warn]


# Fed-ISIC2019 ----------------------------------------------------------------------------------------------------


@pytest.fixture
def isic(tmp_path: Path) -> Path:
    write_flamby_isic(tmp_path, count=24)
    return tmp_path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": "../x"}, "line 7: '../x' is no name of an image"),
        ({"image": "/etc/passwd"}, "line 7: '/etc/passwd' is no name of an image"),
        ({"image": "a\x00b"}, "is no name of an image"),
        ({"image": ""}, "line 7: '' is no name of an image"),
        ({"image": "ISIC_é"}, "line 7: 'ISIC_é' is no name of an image"),
        ({"image": "ISIC_0000000"}, "line 7: image ISIC_0000000 is there twice"),
        ({"target": "8"}, "line 7: target '8' is no class from 0 to 7"),
        ({"target": "-1"}, "line 7: target '-1' is no class from 0 to 7"),
        ({"target": "1.5"}, "line 7: target '1.5' is no class from 0 to 7"),
        ({"target": "٣"}, "line 7: target '٣' is no class from 0 to 7"),
        ({"target": ""}, "line 7: target '' is no class from 0 to 7"),
        ({"center": ""}, "line 7: no center"),
        ({"center": "nan"}, "line 7: no center"),
        ({"image": "nan"}, "line 7: 'nan' names no image"),
        ({"fold": "validation"}, "line 7: fold 'validation' is neither train nor test"),
        ({"fold": ""}, "line 7: fold '' is neither train nor test"),
    ],
)
def test_a_faulty_row_of_the_split_is_named(change: dict[str, str], said: str, isic: Path) -> None:
    rows = isic_rows(24)
    rows[5] |= change
    write_rows(isic / "train_test_split", rows)
    error = loading_error("fed_isic2019", isic)
    assert f"{isic / 'train_test_split'}, line 7" in error.problem
    assert said in error.problem
    assert "https://github.com/owkin/FLamby" in error.remedy


def test_a_line_is_named_by_its_number_in_the_file(isic: Path) -> None:
    rows = isic_rows(24)
    rows[5]["target"] = "9"
    write_rows(isic / "train_test_split", rows)
    lines = (isic / "train_test_split").read_text().splitlines()
    (isic / "train_test_split").write_text("\n".join([*lines[:3], "", "", *lines[3:]]) + "\n")
    assert "line 9: target '9'" in loading_error("fed_isic2019", isic).problem


@pytest.mark.parametrize("column", ["image", "target", "center", "fold"])
def test_a_missing_column_of_the_split_is_named(column: str, isic: Path) -> None:
    rows = isic_rows(24)
    write_rows(isic / "train_test_split", [{k: v for k, v in row.items() if k != column} for row in rows])
    assert f"{isic / 'train_test_split'} has no column '{column}'" in loading_error("fed_isic2019", isic).problem


@pytest.mark.parametrize("fold", ["train", "test"])
def test_a_split_of_one_fold_is_refused(fold: str, isic: Path) -> None:
    write_rows(isic / "train_test_split", [row | {"fold": fold} for row in isic_rows(24)])
    assert "has no row whose fold is" in loading_error("fed_isic2019", isic).problem


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no column 'image'"),
        (b"\x00" * 100, "has no column 'image'"),
        (bytes(range(256)), "cannot read"),
        (b"\x89PNG\r\n\x1a\n", "cannot read"),
        (b"image,target,center,fold\n", "has no rows"),
        (b"image,target,center,fold\na,1,1,train\nb,1,1\n", "line 3: not as many values as columns"),
        (b"image,target,center,fold\na,1,1,train,\n", "line 2: not as many values as columns"),
        (b'image,target,center,fold\na,1,1,"train\n', "cannot read"),
        (b"image,target,center,fold\na\x00,1,1,train\n", ""),
    ],
)
def test_a_file_that_is_no_split_is_named(content: bytes, said: str, isic: Path) -> None:
    (isic / "train_test_split").write_bytes(content)
    error = loading_error("fed_isic2019", isic)
    assert str(isic / "train_test_split") in error.problem
    assert said in error.problem
    assert "FLamby" in error.remedy


def test_missing_files_of_fed_isic2019_are_named(isic: Path) -> None:
    path = isic / "ISIC_2019_Training_Input_preprocessed" / "ISIC_0000003.jpg"
    content = path.read_bytes()
    path.unlink()
    error = loading_error("fed_isic2019", isic)
    assert f"images of the split are not in {path.parent} ({path.name})" in error.problem
    assert "fedsim.prepare fed_isic2019" in error.remedy
    path.write_bytes(cut_short(content))
    assert f"cannot read the image {path}" in loading_error("fed_isic2019", isic).problem
    path.write_bytes(content)
    path.parent.rename(isic / "elsewhere")
    assert f"there is no folder {path.parent}" in loading_error("fed_isic2019", isic).problem
    (isic / "train_test_split").unlink()
    error = loading_error("fed_isic2019", isic)
    assert "there is no file" in error.problem
    assert "own_fold: true" in error.remedy
    assert "own_fold=true` draws it" in loading_error("fed_isic2019", isic, own_fold=True).remedy


# Fed-ISIC2019 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["train_test_split", "train_test_split.csv", "train_test_folds.csv"])
def test_the_folder_that_flamby_leaves_is_read(name: str, tmp_path: Path) -> None:
    folder = write_flamby_isic(tmp_path)
    os.rename(tmp_path / "train_test_split", tmp_path / name)
    splits = sources.build("fed_isic2019").load(tmp_path)
    columns_by_image(splits, folder, isic_rows())
    assert len(splits.train) + len(splits.test) == 48
    assert splits.input_shape == (3, 224, 224)
    assert not splits.one_size
