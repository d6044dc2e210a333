"""Pictures of matrices are read back by their pixels."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedsim.records.heat_map import HEIGHT, LONGEST, MARGIN, WIDTH, heat_map
from fedsim.records.pictures import confusion_picture, partition_picture, save_picture, trust_picture

RED = (200, 30, 30)
GREY = (225, 225, 225)
LIGHTEST, DARKEST = (247, 251, 255), (8, 48, 107)


def count(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
    """Pixels of a colour."""
    return int((picture == colour).all(axis=2).sum())


def border(picture: np.ndarray) -> np.ndarray:
    """The pixels of the outermost lines."""
    return np.concatenate(
        [picture[:3].ravel(), picture[-3:].ravel(), picture[:, :3].ravel(), picture[:, -3:].ravel()]
    )


def names(number: int, letters: int = 8) -> list[str]:
    return [f"{position:0{letters}}" for position in range(number)]


def test_cells_are_shaded_by_value_and_the_unknown_is_grey() -> None:
    picture = heat_map(
        np.array([[0.0, 1.0], [np.nan, 0.5]]),
        title="",
        rows=["a", "b"],
        columns=["x", "y"],
        text=lambda value: "",
    )
    for colour in (LIGHTEST, DARKEST, GREY):
        assert count(picture, colour) == pytest.approx(72 * 40, abs=20)  # and edges of letters


def test_the_darkest_cell_is_that_of_the_highest_value() -> None:
    picture = heat_map(np.array([[0.0, 1.0]]), title="", rows=["a"], columns=["x", "y"], highest=2.0, text=str)
    assert count(picture, DARKEST) == 0
    for values in (np.zeros((2, 2)), np.full((2, 2), np.nan)):
        assert count(heat_map(values, title="", rows=["a", "b"], columns=["x", "y"], text=str), DARKEST) == 0


def test_marked_rows_are_red_also_where_their_names_are_not_written() -> None:
    plain = heat_map(np.eye(3), title="t", rows=["a", "b", "c"], columns=["1", "2", "3"])
    one, two = (
        heat_map(np.eye(3), title="t", rows=["a", "b", "c"], columns=["1", "2", "3"], marked=marked)
        for marked in ([1], [0, 1])
    )
    assert count(plain, RED) == 0 < count(one, RED) < count(two, RED)
    narrow = heat_map(np.zeros((100, 2)), title="", rows=names(100), columns=["1", "2"], marked=[1])
    assert count(narrow, RED) > 0


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (8, 10), (2, 100), (100, 2), (100, 100), (1000, 1)])
@pytest.mark.parametrize("letters", [3, 40, 500])
def test_nothing_is_cut_off_and_pictures_stay_of_a_size(size: tuple[int, int], letters: int) -> None:
    rows, columns = size
    picture = heat_map(
        np.ones(size), title="a title " * 5, rows=names(rows, letters), columns=names(columns, letters), marked=[0]
    )
    assert picture.dtype == np.uint8
    assert (border(picture) == 255).all()
    assert picture.shape[0] < max(HEIGHT, rows) + 14 * LONGEST + 10 * MARGIN
    assert picture.shape[1] < WIDTH + 14 * LONGEST + 10 * MARGIN


@pytest.mark.parametrize(("columns", "digits", "fits"), [(10, 4, True), (10, 9, False), (100, 1, False)])
def test_values_are_written_where_there_is_space(columns: int, digits: int, fits: bool) -> None:
    def drawn(word: str) -> np.ndarray:
        return heat_map(
            np.ones((8, columns)), title="", rows=["a"] * 8, columns=["x"] * columns, text=lambda value: word
        )

    bare, filled = drawn(""), drawn("8" * digits)
    assert bare.shape == filled.shape
    assert (count(filled, DARKEST) < count(bare, DARKEST)) == fits


@pytest.mark.parametrize("name", ["a$b$", "$\\frac{$", "two\nlines", "\udcff", "猫", "", "_^{}%&"])
def test_names_of_any_letters_are_drawn_as_they_are(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = heat_map(np.eye(2), title="t", rows=[name, "b"], columns=["c", name])
    assert (border(picture) == 255).all()


def test_the_pictures_of_a_run(tmp_path: Path) -> None:
    partition = partition_picture([[1, 2], [30, 4], [5, 6]], ["cat", "dog"], byzantine={2})
    confusion = confusion_picture([[3, 1], [0, 0]], ["cat", "dog"])
    trust = trust_picture({1: {0: 1.0, 1: float("nan")}, 2: None, 5: {1: 0.5}}, [1, 2, 5], 2, byzantine=[1])
    assert count(partition, RED) > 0 == count(confusion, RED)
    assert 4 <= count(trust, GREY) / (72 * 40) < 4.1  # two clients, three rounds, two values; and edges of letters
    save_picture(tmp_path / "picture.png", partition)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "picture.png")), partition)
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]
