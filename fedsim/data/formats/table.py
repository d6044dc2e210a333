"""Tables in CSV files, as people and programs write them."""

import csv
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import StringIO
from pathlib import Path

from fedsim.errors import ConfigError
from fedsim.files import read_bytes

DELIMITERS = (",", ";", "\t")

MISSING = frozenset({"", "nan", "-nan", "none", "null", "na", "n/a", "<na>", "#na", "#n/a", "nat"})
"""What programs write, in lower case, where they have no value."""


class Row(dict[str, str]):
    """Text by column name; ``line`` is where it ends in its file."""

    line: int = 0


def is_missing(value: str) -> bool:
    """Whether this stands for no value.

    >>> is_missing("NaN"), is_missing(" "), is_missing("Nancy")
    (True, True, False)
    """
    return value.strip().lower() in MISSING


def read_table(path: Path, columns: Sequence[str], repair: str) -> list[Row]:
    """The rows of a CSV file, text by column name, without spaces at the ends.

    Values are separated by commas, semicolons or tabs, and encoded as UTF-8, or as UTF-16 with its mark. Columns
    without a name are left out, and rows without any value.

    Args:
        columns: those that must be there.
        repair: what the user does about a damaged file, in words.

    Raises:
        ConfigError: the file is missing or damaged, or a column is there twice; the message names file and line.
    """
    text = _text(path, repair)
    try:
        numbered = list(_numbered_rows(text, _delimiter(text, columns)))
    except csv.Error as error:
        raise ConfigError("root", f"cannot read {path}: {error}", repair) from None
    (_, names), *found = numbered or [(1, [])]
    missing = [name for name in columns if name not in names]
    if missing:
        raise ConfigError("root", f"{path} has no column '{missing[0]}'{_what_it_has(names)}", repair)
    twice = [name for position, name in enumerate(names) if name and name in names[:position]]
    if twice:
        raise ConfigError("root", f"{path}, line 1: column '{twice[0]}' is there twice", repair)
    rows: list[Row] = []
    for line, values in found:
        if len(values) != len(names):
            raise ConfigError("root", f"{path}, line {line}: not as many values as columns", repair)
        rows.append(Row((name, value) for name, value in zip(names, values, strict=True) if name))
        rows[-1].line = line
    if not rows:
        raise ConfigError("root", f"{path} has no rows", repair)
    return rows


def rows_by_key(
    path: Path, rows: Iterable[Row], key: str, what: str, repair: str, normal: Callable[[str], str] = str
) -> dict[str, Row]:
    """The rows of a table by their value in the column ``key``, which tells them apart.

    Args:
        path: of the table, for the message.
        what: what the key names, in a word.
        repair: what the user does about it, in words.
        normal: one spelling for all that mean the same.

    Raises:
        ConfigError: a key is missing or there twice; the message names the lines.
    """
    found: dict[str, Row] = {}
    for row in rows:
        if is_missing(row[key]):
            raise ConfigError("root", f"{path}, line {row.line}: '{row[key]}' names no {what}", repair)
        name = normal(row[key])
        if name in found:
            problem = f"{path}, line {row.line}: {what} {row[key]} is there twice (see line {found[name].line})"
            raise ConfigError("root", problem, repair)
        found[name] = row
    return found


def write_table(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write rows of the same columns."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _text(path: Path, repair: str) -> str:
    try:
        content = read_bytes(path)
    except OSError as error:
        raise ConfigError("root", f"cannot read {path}: {error.strerror}", repair) from None
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        encoding = "UTF-16" if utf16 else "UTF-8"
        problem = f"cannot read {path}: line {line} is not {encoding}, as which it must be saved"
        raise ConfigError("root", problem, repair) from None
    return unicodedata.normalize("NFC", text)


def _what_it_has(names: Sequence[str]) -> str:
    """The first columns, unless they are no text."""
    shown = ", ".join(names[:5])[:100]
    return f" (its first line: {shown})" if shown.isprintable() and shown else ""


def _delimiter(text: str, columns: Sequence[str]) -> str:
    """What separates the names in the first line: that which leaves most names, with those that must be there."""
    header = StringIO(text, newline="").readline()

    def names_by(delimiter: str) -> int:
        names = [name for _, row in _numbered_rows(header, delimiter, strict=False) for name in row]
        return len(names) if set(columns) <= set(names) else 0

    return max(DELIMITERS, key=names_by)


def _numbered_rows(text: str, delimiter: str, strict: bool = True) -> Iterator[tuple[int, list[str]]]:
    """The rows that hold anything, and the line on which each ends."""
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=strict)
    for values in reader:
        if any(value.strip() for value in values):
            yield reader.line_num, [value.strip() for value in values]
