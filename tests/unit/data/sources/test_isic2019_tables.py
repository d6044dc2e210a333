"""The challenge's tables, and the split that is drawn from them."""

from pathlib import Path

import pytest

from fedsim.data.sources import sources
from fedsim.data.sources.isic2019_tables import draw_split
from fedsim.errors import ConfigError
from support.data_checks import cut_short, loading_error
from support.data_sets import (
    small_sets_may_warn,
    write_raw_isic,
)

pytestmark = [pytest.mark.usefixtures("cache"), small_sets_may_warn]


# Fed-ISIC2019 ----------------------------------------------------------------------------------------------------


TRUTH, METADATA = "ISIC_2019_Training_GroundTruth.csv", "ISIC_2019_Training_Metadata.csv"
HAM = "HAM10000_metadata"


def change_cell(path: Path, row: int, **values: str) -> None:
    """Replace cells of a CSV file; rows are counted from 0."""
    header, *lines = [line.split(",") for line in path.read_text().splitlines()]
    for name, value in values.items():
        lines[row][header.index(name)] = value
    path.write_text("\n".join(map(",".join, [header, *lines])) + "\n")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    write_raw_isic(tmp_path, count=24)
    return tmp_path


def drawn(root: Path) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        draw_split(root)
    assert raised.value.remedy
    return raised.value


@pytest.mark.parametrize("table", [TRUTH, METADATA, HAM])
def test_missing_and_damaged_raw_tables_are_named(table: str, raw: Path) -> None:
    for content in (b"", b"\x00\xff\xfe binary", b"a,b\n1,2\n"):
        (raw / table).write_bytes(content)
        assert str(raw / table) in drawn(raw).problem
    (raw / table).unlink()
    assert f"cannot read {raw / table}: " in drawn(raw).problem
    wanted = "HAM10000_metadata" if table == HAM else "https://challenge.isic-archive.com"
    assert wanted in drawn(raw).remedy


def test_an_image_of_two_classes_or_none_is_named(raw: Path) -> None:
    change_cell(raw / TRUTH, 3, MEL="1.0", AK="1.0")
    assert f"{raw / TRUTH} gives ISIC_0000003 2 classes" in drawn(raw).problem
    change_cell(raw / TRUTH, 3, MEL="0.0", AK="0.0")
    assert f"{raw / TRUTH} gives ISIC_0000003 0 classes" in drawn(raw).problem
    change_cell(raw / TRUTH, 3, AK="nan")
    assert "0 classes" in drawn(raw).problem


def test_unknown_centres_are_named(raw: Path) -> None:
    change_cell(raw / METADATA, 3, lesion_id="XYZ_0000003")
    error = drawn(raw)
    assert "does not name the centre of ISIC_0000003 ('XYZ_0000003')" in error.problem
    change_cell(raw / METADATA, 3, lesion_id="HAM_0000003")
    draw_split(raw)
    path = raw / HAM
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "ISIC_0000003" not in line))
    assert "does not name the centre of ISIC_0000003 ('HAM_0000003')" in drawn(raw).problem
    assert str(raw / HAM) in drawn(raw).problem


def test_an_image_without_a_class_is_named(raw: Path) -> None:
    path = raw / TRUTH
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "ISIC_0000005" not in line))
    assert f"{path} has no row for ISIC_0000005" in drawn(raw).problem


def test_tables_without_lesions_are_named(raw: Path) -> None:
    for row in range(24):
        change_cell(raw / METADATA, row, lesion_id="")
    assert f"{raw / METADATA} names no lesion" in drawn(raw).problem


def test_one_image_of_each_centre_leaves_none_for_testing(tmp_path: Path) -> None:
    write_raw_isic(tmp_path, count=6)
    assert "names one image of each centre, so none can be held out for testing" in drawn(tmp_path).problem


def test_a_missing_raw_image_is_named_and_the_next_call_goes_on(raw: Path) -> None:
    path = raw / "ISIC_2019_Training_Input" / "ISIC_0000009.jpg"
    content = path.read_bytes()
    source = sources.build("fed_isic2019", own_fold=True)
    for harm in (lambda: path.write_bytes(cut_short(content)), path.unlink):
        harm()
        with pytest.raises(ConfigError, match=f"cannot read the image {path}") as raised:
            source.prepare(raw)
        assert "https://challenge.isic-archive.com" in raised.value.remedy
    path.write_bytes(content)
    source.prepare(raw)
    assert len(source.load(raw).train) + len(source.load(raw).test) == 22


def test_missing_raw_folder_is_named(raw: Path) -> None:
    (raw / "ISIC_2019_Training_Input").rename(raw / "elsewhere")
    with pytest.raises(ConfigError, match=r"nor the raw images in .*ISIC_2019_Training_Input; unpack"):
        sources.build("fed_isic2019", own_fold=True).prepare(raw)


@pytest.mark.parametrize("name", ["../ISIC_0000003", "ISIC_0000002"], ids=["a path", "one that is there twice"])
def test_a_bad_name_in_the_raw_tables_can_be_fixed(name: str, raw: Path) -> None:
    """The split that was drawn from bad tables must not stay."""
    whole = {table: (raw / table).read_bytes() for table in (TRUTH, METADATA, HAM)}
    for table, column in ((TRUTH, "image"), (METADATA, "image")):
        change_cell(raw / table, 3, **{column: name})
    change_cell(raw / METADATA, 3, lesion_id="BCN_0000003")
    if name == "ISIC_0000002":
        change_cell(raw / METADATA, 3, lesion_id="HAM_0000003")
    source = sources.build("fed_isic2019", own_fold=True)
    with pytest.raises(ConfigError):
        source.prepare(raw)
    assert sorted(path.name for path in raw.parent.iterdir() if path.suffix == ".jpg") == []
    for table, content in whole.items():
        (raw / table).write_bytes(content)
    source.prepare(raw)
    assert len(source.load(raw).train) + len(source.load(raw).test) == 22


def test_a_damaged_split_of_ours_is_not_to_be_copied_from_flamby(raw: Path) -> None:
    source = sources.build("fed_isic2019", own_fold=True)
    source.prepare(raw)
    change_cell(raw / "fedsim_split.csv", 3, target="9")
    error = loading_error("fed_isic2019", raw, own_fold=True)
    assert f"{raw / 'fedsim_split.csv'}, line 5: target '9'" in error.problem
    assert "FLamby" not in error.remedy
    assert "fedsim_split.csv" in error.remedy or "own_fold=true" in error.remedy


# Fed-ISIC2019 ----------------------------------------------------------------------------------------------------


def test_the_drawn_split_is_the_same_each_time(tmp_path: Path) -> None:
    write_raw_isic(tmp_path)
    assert draw_split(tmp_path) == draw_split(tmp_path)


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [(TRUTH, "MEL", "1.0"), (TRUTH, "UNK", "0.0"), (METADATA, "lesion_id", "MSK4000"), (HAM, "dataset", "rosendahl")],
)
def test_an_image_that_a_table_has_twice_is_named_by_its_lines(
    table: str, column: str, value: str, raw: Path
) -> None:
    path = raw / table
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[2]]) + "\n")
    change_cell(path, len(lines) - 1, **{column: value})
    error = drawn(raw)
    assert f"{path}, line {len(lines) + 1}: image " in error.problem
    assert "is there twice (see line 3)" in error.problem


@pytest.mark.parametrize("nothing", ["nan", "NaN", "None", " "])
def test_a_lesion_without_a_name_has_no_centre(nothing: str, raw: Path) -> None:
    before = draw_split(raw)
    change_cell(raw / METADATA, 6, lesion_id=nothing)  # it was empty
    assert draw_split(raw) == before


@pytest.mark.parametrize("table", [TRUTH, METADATA, HAM])
def test_a_column_that_a_table_has_twice_is_named(table: str, raw: Path) -> None:
    path = raw / table
    path.write_text("".join(line + ("," + line.split(",")[0] + "\n") for line in path.read_text().splitlines()))
    assert drawn(raw).problem == f"{path}, line 1: column '{'lesion_id' if table == HAM else 'image'}' is there twice"
