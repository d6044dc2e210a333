"""Tables as columns of text, from CSV or Parquet, and what can be made of a column: numbers, classes, categories."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedsim.data.formats.table import is_missing, read_table
from fedsim.errors import ConfigError, did_you_mean
from fedsim.files import open_file

REPAIR = "correct the table, or save it again"

LARGEST_WHOLE = 2**53
"""Beyond it float64 cannot tell whole numbers apart."""

FILL_IN = "fill in a value, or leave the row out"


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes:
        columns: the values [N] of each column by its name.
        lines: where each row ends in the file; the rows' numbers where it has no lines.
        unit: what these count.
    """

    path: Path
    columns: Mapping[str, Sequence[str]]
    lines: Sequence[int]
    unit: str = "line"

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str, key: str) -> Sequence[str]:
        """A column; ConfigError under ``key`` if there is none."""
        if name not in self.columns:
            raise ConfigError(key, f"{self.path} has no column '{name}'", did_you_mean(name, self.columns))
        return self.columns[name]

    def complete(self, name: str, key: str) -> Sequence[str]:
        """A column that has a value in every row; ConfigError if not."""
        values = self.column(name, key)
        missing = next((row for row, value in enumerate(values) if is_missing(value)), None)
        if missing is not None:
            raise self.problem(missing, f"'{name}' has no value", FILL_IN)
        return values

    def problem(self, row: int, what: str, remedy: str) -> ConfigError:
        """What is wrong with a row."""
        return ConfigError("root", f"{self.path}, {self.unit} {self.lines[row]}: {what}", remedy)


def read_columns(path: Path) -> Table:
    """The table in a file, which is Parquet by its suffix, or else CSV.

    Raises:
        ConfigError: it is damaged, or what reads Parquet is not installed.
    """
    return READERS.get(path.suffix.lower(), _read_csv)(path)


def _read_csv(path: Path) -> Table:
    rows = read_table(path, [], REPAIR)
    return Table(path, {name: [row[name] for row in rows] for name in rows[0]}, [row.line for row in rows])


def _read_parquet(path: Path) -> Table:
    try:
        import pyarrow.parquet
    except ImportError:
        remedy = "pip install 'fedsim-byzantine[parquet]', or save the table as CSV"
        raise ConfigError("root", f"{path} is Parquet, and pyarrow is not installed", remedy) from None
    try:
        with open_file(path) as file:
            table = pyarrow.parquet.read_table(file)
    except (OSError, pyarrow.ArrowException) as error:
        reason = (str(error).splitlines() or ["it is damaged"])[0]
        raise ConfigError("root", f"cannot read {path}: {reason}", REPAIR) from None
    if not table.num_rows:
        raise ConfigError("root", f"{path} has no rows", REPAIR)
    columns = {
        name: ["" if value is None else str(value) for value in column.to_pylist()]
        for name, column in zip(table.column_names, table.columns, strict=True)
        if not name.startswith("__index_level_")  # as pandas calls the numbers of its rows
    }
    return Table(path, columns, range(1, table.num_rows + 1), "row")


READERS: Mapping[str, Callable[[Path], Table]] = {
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".csv": _read_csv,
    ".tsv": _read_csv,
}


def numbers(table: Table, name: str) -> NDArray[np.float64]:
    """A column of numbers [N].

    Raises:
        ConfigError: a value is missing, infinite, beyond float32 or no number; the message names its line.
    """
    values = table.complete(name, "features")
    try:
        found = np.array(values, dtype=np.float64)
    except ValueError:
        row = next(row for row, value in enumerate(values) if not _is_number(value))
        remedy = f"add '{name}' to data.categories or data.columns, or name the numeric columns by data.features"
        raise table.problem(row, f"'{name}' is '{values[row]}', which is no number", remedy) from None
    if not np.isfinite(found).all():
        raise table.problem(int(np.isfinite(found).argmin()), f"'{name}' is infinite", FILL_IN)
    huge = np.abs(found) > np.finfo(np.float32).max
    if huge.any():  # beside it all other values of the column would be one
        row = int(huge.argmax())
        raise table.problem(row, f"'{name}' is {values[row]}, which float32 does not hold", FILL_IN)
    return found


def labels(tables: Sequence[Table], name: str) -> NDArray[Any]:
    """The labels of all tables [N]: whole numbers if all are, else text.

    Raises:
        ConfigError: a label is missing, or all are numbers, but not whole ones.
    """
    values = [value for table in tables for value in table.complete(name, "label")]
    if not all(map(_is_number, values)):
        return np.array(values, dtype=np.str_)
    found = np.array(values, dtype=np.float64)
    if np.abs(found).max() >= LARGEST_WHOLE:  # infinity, too
        return np.array(values, dtype=np.str_)
    if (found == np.rint(found)).all():
        return found.astype(np.int64)
    for table in tables:
        for row, value in enumerate(table.columns[name]):
            if not float(value).is_integer():
                remedy = "name a column of classes by data.label; only classification is done here"
                raise table.problem(row, f"'{name}' is {value}, a real number and no class", remedy)
    raise AssertionError("one of them is no whole number")


def one_hot(tables: Sequence[Table], name: str) -> NDArray[np.float64]:
    """A column of categories as columns of 0 and 1 [N, categories], in sorted order."""
    values = np.array([value for table in tables for value in table.complete(name, "categories")], dtype=np.str_)
    return (values[:, None] == np.unique(values)).astype(np.float64)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
