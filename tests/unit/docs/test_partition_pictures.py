"""Pictures of partitioners."""

import os
from pathlib import Path

import pytest
from PIL import Image

from fedsim.data.partitioners import partitioners
from fedsim.docs import partition_pictures
from fedsim.docs.partition_pictures import draw_pictures, example_counts, missing_pictures, picture_lines
from support.launch import ROOT

EXAMPLES = {"one": [[3, 0], [1, 2]], "other": [[0, 1], [4, 4]]}


def test_every_partitioner_that_needs_nothing_has_an_example() -> None:
    counts = example_counts()
    assert set(partitioners.describe()) - set(counts) == {"file", "natural"}
    for table in counts.values():
        assert [sum(column) for column in zip(*table, strict=True)] == [500] * 10
        assert len(table) == 10


def test_the_page_shows_pictures_that_are_there() -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    for name in example_counts():
        assert f"(images/partitions/{name}.png)" in page
    assert missing_pictures(ROOT / "docs" / "images" / "partitions") == []


def test_a_picture_is_drawn_where_it_is_missing_or_shows_other_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_pictures, "example_counts", lambda: EXAMPLES)
    folder = tmp_path / "pictures"
    assert missing_pictures(folder) == ["one.png", "other.png"]
    assert draw_pictures(folder) == ["one.png", "other.png"]
    assert missing_pictures(folder) == []
    with Image.open(folder / "one.png") as picture:
        picture.info.pop("counts")
        picture.save(folder / "one.png")  # drawn by another library, say
    os.utime(folder / "other.png", (1, 1))
    assert draw_pictures(folder) == ["one.png"]
    assert (folder / "other.png").stat().st_mtime == 1
    monkeypatch.setitem(EXAMPLES, "other", [[5, 5]])
    assert draw_pictures(folder) == ["other.png"]


def test_two_pictures_stand_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_pictures, "example_counts", lambda: {name: [[1]] for name in "abc"})
    rows = [line for line in picture_lines("here") if "png" in line and line.startswith("|")]
    assert [row.count("](here/") for row in rows] == [2, 1]
    assert {row.count("|") for row in rows} == {3}
