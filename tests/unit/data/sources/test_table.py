"""Tables of users, from their files to what a run gets."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsim.data.sources import sources
from fedsim.errors import ConfigError, FedsimWarning
from support.own_data import blobs, contents, write_csv

pytestmark = pytest.mark.usefixtures("cache")

X, Y = blobs(60, 2)
NAMES = np.array(["ant", "bee", "cow"])[Y]
COLUMNS = {"width": X[:, 0], "client": [f"h{row % 4}" for row in range(60)], "height": X[:, 1], "Label": NAMES}


def test_features_are_standardized_by_the_training_rows(tmp_path: Path) -> None:
    splits = sources.build("table").load(write_csv(tmp_path / "mine.csv", COLUMNS))
    raw = sources.build("table", standardize=False).load(tmp_path)
    assert splits.input_shape == (2,)
    assert splits.class_names == ("ant", "bee", "cow")
    assert (len(splits.train), len(splits.test)) == (48, 12)
    seen = contents(raw.train).astype(np.float64)
    for ours, plain in ((splits.train, raw.train), (splits.test, raw.test)):
        expected = (contents(plain) - seen.mean(0)) / seen.std(0)
        assert np.allclose(contents(ours), expected, atol=1e-5)
        assert ours.labels.tolist() == plain.labels.tolist()
    rows = {tuple(row): (name, client) for row, name, client in
            zip(X.astype(np.float32).tolist(), NAMES, COLUMNS["client"], strict=True)}  # fmt: skip
    for row, label, client in zip(
        contents(raw.train).tolist(), raw.train.labels, raw.train.columns["client"], strict=True
    ):
        assert rows[tuple(row)] == (raw.class_names[label], client)


def test_both_sides_and_chosen_columns(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "a": [1, 2, 3, 4],
        "kind": ["u", "v", "u", "w"],
        "id": [9, 8, 7, 6],
        "cls": [0, 1, 0, 1],
        "b": [5] * 4,
    }
    write_csv(tmp_path / "train.csv", columns)
    write_csv(tmp_path / "test.csv", {**columns, "kind": ["w"] * 4, "a": [1, 1, 1, 1]})
    settings: dict[str, Any] = {"label": "cls", "categories": ["kind"], "columns": ["id"]}
    splits = sources.build("table", **settings).load(tmp_path)
    spread = np.array([1, 2, 3, 4]).std()
    expected = [[(a - 2.5) / spread, *kind, 0] for a, kind in zip(
        [1, 2, 3, 4], [(1, 0, 0), (0, 1, 0), (1, 0, 0), (0, 0, 1)], strict=True)]  # fmt: skip
    assert np.allclose(contents(splits.train), expected)
    assert np.allclose(contents(splits.test), [[-1.5 / spread, 0, 0, 1, 0]] * 4)
    assert splits.test.columns == {"id": ["9", "8", "7", "6"]}
    named = sources.build("table", label="cls", features=["b", "a"]).load(tmp_path)
    assert named.input_shape == (2,)


def test_a_feature_that_counts_rows_is_said(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", {"no": range(100, 160), **COLUMNS})
    with pytest.warns(FedsimWarning, match="'no' looks like the number of the row"):
        sources.build("table").load(path)


@pytest.mark.parametrize(
    ("settings", "columns", "key", "problem"),
    [
        ({}, {"x": [1, 2]}, "label", r"has no column label.* \(it has: x\)"),
        ({"label": "clas"}, {"x": [1, 2], "class": [0, 1]}, "label", "has no column 'clas'"),
        ({"features": ["z"]}, {"x": [1, 2], "y": [0, 1]}, "features", "has no column 'z'"),
        ({"columns": ["z"]}, {"x": [1, 2] * 3, "y": [0, 1] * 3}, "columns", "has no column 'z'"),
        ({"features": ["y"]}, {"x": [1, 2] * 3, "y": [0, 1] * 3}, "features", "'y' is the label"),
        ({}, {"y": [0, 1] * 3}, "root", "has no column of features"),
        ({}, {"x": ["a", "b"] * 3, "y": [0, 1] * 3}, "root", "line 2: 'x' is 'a', which is no number"),
    ],
)
def test_what_does_not_fit_is_refused(settings: Any, columns: Any, key: str, problem: str, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", columns)
    with pytest.raises(ConfigError, match=problem) as caught:
        sources.build("table", **settings).load(tmp_path)
    assert caught.value.key == key


def test_a_folder_of_several_tables_needs_names(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        write_csv(tmp_path / name, COLUMNS)
    with pytest.raises(ConfigError, match=r"should hold one table .*\(found: a.csv, b.csv\); name one of them"):
        sources.build("table").check(tmp_path)
    assert sources.build("table").sketch(tmp_path / "a.csv") is not None


def test_two_tables_of_one_side_are_refused(tmp_path: Path) -> None:
    """The last by name was taken, without a word."""
    for name in ("train.csv", "test.csv", "Train.tsv"):
        write_csv(tmp_path / name, COLUMNS)
    with pytest.raises(ConfigError, match=r"both .*Train.tsv and train.csv are called as the table to train"):
        sources.build("table").check(tmp_path)


def test_a_value_that_would_erase_its_column_is_named(tmp_path: Path) -> None:
    """1e300 stands for nothing in some tables; standardised, all other values became zero."""
    path = write_csv(tmp_path / "mine.csv", {**COLUMNS, "height": [*X[:-1, 1], 1e300]})
    with pytest.raises(ConfigError, match=r"mine.csv.*61.*'height' is 1e\+?300, which float32 does not hold"):
        sources.build("table").load(path)
