"""Tables of an image folder's samples."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedsim.data.formats.table import is_missing, read_table, rows_by_key
from fedsim.data.sources import sources
from fedsim.errors import ConfigError
from support.data_checks import loading_error, pictures
from support.data_sets import (
    small_sets_may_warn,
    write_class_folders,
    write_rows,
)

pytestmark = [pytest.mark.usefixtures("cache"), small_sets_may_warn]


# Images ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no column 'file_name'"),
        (b"name,site\na,b\n", "has no column 'file_name'"),
        (b"file_name,site\n", "has no rows"),
        (b"file_name,site\ncat/0.jpg,a\ncat/1.png\n", "line 3: not as many values as columns"),
        (b"file_name,site\ncat/0.jpg,a,b\n", "line 2: not as many values as columns"),
        (b"\xff\xfe\x00\x01binary!", "cannot read"),
        (b'file_name,site\ncat/0.jpg,"a\n', "cannot read"),
        (b"file_name,site\n" + b"a" * 200_000 + b",b\n", "cannot read"),
    ],
)
def test_a_damaged_table_of_an_image_folder_is_named(content: bytes, said: str, images: Path) -> None:
    (images / "metadata.csv").write_bytes(content)
    error = loading_error("image_folder", images)
    assert str(images / "metadata.csv") in error.problem
    assert said in error.problem
    assert error.remedy == "fix or remove it"


# Folders of images -----------------------------------------------------------------------------------------------


def test_columns_of_the_table_go_with_their_images(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train")
    write_class_folders(tmp_path / "test", per_class=2)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*g"))
    rows = [{"site": f"site of {name}", "file_name": name, "age": str(len(name))} for name in reversed(files)]
    rows.append({"site": "nowhere", "file_name": "train/cat/of_another_set.jpg", "age": "0"})
    write_rows(tmp_path / "metadata.csv", rows)
    splits = sources.build("image_folder", short_side=None).load(tmp_path)
    for samples, part in ((splits.train, "train"), (splits.test, "test")):
        assert set(samples.columns) == {"site", "age"}
        for image, site in zip(pictures(samples), samples.columns["site"], strict=True):
            path = tmp_path / site.removeprefix("site of ")
            assert path.relative_to(tmp_path).parts[0] == part
            assert np.array_equal(image.transpose(1, 2, 0), np.asarray(Image.open(path).convert("RGB")))


def test_a_table_with_byte_order_mark_and_quoted_commas_is_read(tmp_path: Path) -> None:
    write_class_folders(tmp_path, per_class=2)
    names = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*g"))
    text = "file_name,site\r\n" + "".join(f'{name},"Barcelona, Clínic"\r\n' for name in names)
    (tmp_path / "metadata.csv").write_bytes(text.encode("utf-8-sig"))
    splits = sources.build("image_folder").load(tmp_path)
    assert splits.train.columns == {"site": ["Barcelona, Clínic"] * 2}


def test_a_table_without_a_row_for_an_image_is_named(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train", per_class=2)
    rows = [{"file_name": f"train/{kind}/0.jpg", "site": "a"} for kind in ("cat", "dog")]
    write_rows(tmp_path / "metadata.csv", rows)
    with pytest.raises(ConfigError, match=r"metadata\.csv has no row for train/cat/1\.png"):
        sources.build("image_folder").load(tmp_path)


# Files of other programs --------------------------------------------------------------------------------------------


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


PLAIN = "name,place\na,Orléans\nb,\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", ", "),
        PLAIN.replace(",", " ,"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace("\n", " \n"),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN.replace("é", "e\u0301"),
        PLAIN.replace("\n", ",\n"),
        ",name,place\n0,a,Orléans\n1,b,\n",
        PLAIN + ",\n,\n",
        '"name","place"\n"a","Orléans"\n"b",""\n',
    ],
)
def test_one_table_in_many_forms(content: str | bytes, tmp_path: Path) -> None:
    rows = read_table(written(tmp_path, content), ["name", "place"], "fix it")
    assert rows == [{"name": "a", "place": "Orléans"}, {"name": "b", "place": ""}]
    assert [row.line for row in rows] == [2, 3]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name,place,name\na,b,c\n", "line 1: column 'name' is there twice"),
        ("name, place,place \na,b,c\n", "line 1: column 'place' is there twice"),
        ("name|place\na|b\n", "has no column 'name' (its first line: name|place)"),
        ("sep=;\nname;place\na;b\n", "has no column 'name' (its first line: sep=;)"),
        (b"name,place\na,b\nc,d\n" + "e,Zürich\n".encode("latin-1"), "line 4 is not UTF-8"),
    ],
)
def test_a_table_that_cannot_be_understood_is_refused(content: str | bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_table(written(tmp_path, content), ["name"], "fix it")
    assert said in caught.value.problem
    assert "fix it" in caught.value.remedy


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["a", "b", "a"], "line 4: sample a is there twice (see line 2)"),
        (["a", "b ", "b"], "line 4: sample b is there twice (see line 3)"),
        (["a", "", "c"], "line 3: '' names no sample"),
        (["a", "b", "NaN"], "line 4: 'NaN' names no sample"),
    ],
)
def test_a_key_stands_for_one_row(keys: list[str], said: str, tmp_path: Path) -> None:
    path = written(tmp_path, "key,value\n" + "".join(f"{key},1\n" for key in keys))
    with pytest.raises(ConfigError) as caught:
        rows_by_key(path, read_table(path, ["key"], "fix it"), "key", "sample", "fix it")
    assert f"{path}, {said}" == caught.value.problem


def test_words_for_no_value() -> None:
    assert all(map(is_missing, ["", "  ", "nan", "NAN", "None", "null", "N/A", "<NA>", "NaT"]))
    assert not any(map(is_missing, ["0", "-", "nano", "Nanterre", "none of these", "unknown"]))
