"""Columns of tables, from CSV and Parquet."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsim.data.own.table_columns import labels, numbers, one_hot, read_columns
from fedsim.errors import ConfigError
from support.data_checks import cut_short
from support.own_data import write_csv

COLUMNS: dict[str, list[Any]] = {
    "age": [31, 4, 77],
    "height": [1.5, -2e-3, 0.1],
    "colour": ["red", "blue", "red"],
    "label": [2, 0, 2],
}


def write_parquet(path: Path, columns: Any) -> Path:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    parquet.write_table(pytest.importorskip("pyarrow").table(columns), path)
    return path


@pytest.mark.parametrize("kind", [",", ";", "\t", "parquet"])
def test_a_table_is_the_same_in_every_format(kind: str, tmp_path: Path) -> None:
    path = tmp_path / ("t.parquet" if kind == "parquet" else "t.csv")
    table = read_columns(write_parquet(path, COLUMNS) if kind == "parquet" else write_csv(path, COLUMNS, kind))
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == 3
    for name in ("age", "height"):
        assert numbers(table, name).tolist() == COLUMNS[name]
    assert one_hot([table], "colour").tolist() == [[0, 1], [1, 0], [0, 1]]
    assert labels([table], "label").tolist() == [2, 0, 2]
    assert labels([table], "colour").tolist() == COLUMNS["colour"]


def test_row_numbers_of_pandas_are_no_column(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow", reason="needs the extra parquet")
    frame = pandas.DataFrame(COLUMNS, index=[7, 8, 9])
    frame.to_csv(tmp_path / "t.csv")
    frame.to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        assert list(read_columns(tmp_path / name).columns) == list(COLUMNS)


def test_whole_numbers_written_with_a_point_are_classes(tmp_path: Path) -> None:
    table = read_columns(write_csv(tmp_path / "t.csv", {"label": ["1.0", "0", "3.00"]}))
    found = labels([table], "label")
    assert found.tolist() == [1, 0, 3]
    assert found.dtype == np.int64
    long = ["100000000000000000001", "100000000000000000002"]
    assert labels([read_columns(write_csv(tmp_path / "long.csv", {"label": long}))], "label").tolist() == long


@pytest.mark.parametrize(
    ("read", "name", "value", "problem"),
    [
        (numbers, "x", "", "line 4: 'x' has no value"),
        (numbers, "x", "NaN", "line 4: 'x' has no value"),
        (numbers, "x", "inf", "line 4: 'x' is infinite"),
        (numbers, "x", "tall", "line 4: 'x' is 'tall', which is no number"),
        (lambda table, name: labels([table], name), "x", "0.5", "line 4: 'x' is 0.5, a real number"),
        (lambda table, name: labels([table], name), "x", "n/a", "line 4: 'x' has no value"),
        (numbers, "z", "1", "has no column 'z'"),
    ],
)
def test_values_that_cannot_be_used_are_named_by_line(
    read: Any, name: str, value: str, problem: str, tmp_path: Path
) -> None:
    table = read_columns(write_csv(tmp_path / "t.csv", {"x": [1, 2, value, 3], "y": [0, 1, 0, 1]}))
    with pytest.raises(ConfigError, match=problem) as caught:
        read(table, name)
    assert str(tmp_path / "t.csv") in caught.value.problem
    assert caught.value.remedy


def test_damaged_parquet_is_named(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "t.parquet", COLUMNS)
    content = path.read_bytes()
    for damaged in (cut_short(content), b"", b"no table"):
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"cannot read .*t\.parquet: "):
            read_columns(path)
    write_parquet(path, {"x": []})
    with pytest.raises(ConfigError, match=r"t\.parquet has no rows"):
        read_columns(path)


def test_a_value_that_parquet_lacks_is_named_by_row(tmp_path: Path) -> None:
    table = read_columns(write_parquet(tmp_path / "t.parquet", {"x": [1.0, None, float("nan")]}))
    with pytest.raises(ConfigError, match=r"t\.parquet, row 2: 'x' has no value"):
        numbers(table, "x")
