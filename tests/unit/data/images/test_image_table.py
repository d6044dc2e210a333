"""The table beside an image folder, as people write it."""

from pathlib import Path

import pytest

from fedsim.data.sources import sources
from fedsim.errors import ConfigError, FedsimWarning
from support.data_sets import write_class_folders

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def sides(tmp_path: Path) -> Path:
    for side in ("train", "test"):
        write_class_folders(tmp_path / side, per_class=2)
    return tmp_path


def names(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.*g"))


def write(path: Path, lines: list[str], header: str = "file_name,ward") -> None:
    path.write_text("\n".join([header, *lines]) + "\n")


def wards(root: Path) -> list[str]:
    splits = sources.build("image_folder").load(root)
    return [*splits.train.columns["ward"], *splits.test.columns["ward"]]


@pytest.mark.parametrize(
    "spelling",
    [
        lambda name: name.replace("/", "\\"),
        lambda name: ".\\" + name.replace("/", "\\"),
        lambda name: f"./{name}",
        lambda name: f" {name} ",
        lambda name: name.replace("/", "//"),
    ],
)
def test_paths_are_read_as_any_system_writes_them(spelling: object, sides: Path) -> None:
    assert callable(spelling)
    write(sides / "metadata.csv", [f"{spelling(name)},w{number}" for number, name in enumerate(names(sides))])
    assert wards(sides) == ["w4", "w5", "w6", "w7", "w0", "w1", "w2", "w3"]


@pytest.mark.parametrize("again", ["train/dog/1.png,w1", "train\\dog\\1.png,w2", "./train/dog/1.png,w1"])
def test_an_image_that_is_there_twice_is_named_by_its_lines(again: str, sides: Path) -> None:
    write(sides / "metadata.csv", [*(f"{name},w1" for name in names(sides)), again])
    with pytest.raises(ConfigError, match=r"metadata\.csv, line 10: image .* is there twice \(see line 9\)"):
        wards(sides)


def test_names_without_their_folder_are_explained(sides: Path) -> None:
    write(sides / "metadata.csv", ["0.jpg,w1", "1.png,w2"])
    with pytest.raises(ConfigError) as caught:
        wards(sides)
    assert "has no row for train/cat/0.jpg" in caught.value.problem
    assert f"file_name is the path from {sides}, and line 2 has '0.jpg'" in caught.value.remedy


@pytest.mark.parametrize("place", ["train/metadata.csv", "metadata.jsonl", "metadata.xlsx", "test/metadata.tsv"])
def test_a_table_that_is_not_read_is_pointed_out(place: str, sides: Path) -> None:
    (sides / place).write_text("{}")
    with pytest.warns(FedsimWarning, match=r"is not read: what is known of images stands in .*metadata\.csv"):
        sources.build("image_folder").load(sides)
