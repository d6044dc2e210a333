"""Tables in CSV files, whatever is in them."""

import csv
from collections.abc import Sequence
from pathlib import Path

from fedsim.errors import ConfigError


class Row(dict[str, str]):
    """Text by column name; ``line`` is where it ends in its file."""

    line: int = 0


def read_table(path: Path, columns: Sequence[str], repair: str) -> list[Row]:
    """The rows of a CSV file, text by column name.

    Args:
        columns: those that must be there.
        repair: what the user does about a damaged file, in words.

    Raises:
        ConfigError: the file is missing or damaged; the message names file and line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise ConfigError("root", f"{path} has no column '{missing[0]}'", repair)
            rows: list[Row] = []
            for row in reader:
                if None in row or None in row.values():
                    problem = f"{path}, line {reader.line_num}: not as many values as columns"
                    raise ConfigError("root", problem, repair)
                rows.append(Row(row))
                rows[-1].line = reader.line_num
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError("root", f"cannot read {path}: {error}", repair) from None
    if not rows:
        raise ConfigError("root", f"{path} has no rows", repair)
    return rows


def write_table(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write rows of the same columns."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
