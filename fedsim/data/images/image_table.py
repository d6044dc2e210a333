"""What a table beside the images says about each of them."""

import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from fedsim.data.formats.table import read_table, rows_by_key
from fedsim.data.samples import Columns
from fedsim.errors import ConfigError, FedsimWarning

TABLE, KEY = "metadata.csv", "file_name"
REPAIR = "fix or remove it"


def columns_of_images(root: Path, files: Sequence[Path]) -> Columns:
    """The columns of ``root/metadata.csv`` for each of the files, in their order; none if there is no table.

    Raises:
        ConfigError: the table is damaged, names an image twice, or lacks one.
    """
    path = root / TABLE
    if not path.exists():
        return {}
    table = read_table(path, [KEY], REPAIR)
    repair = f"name each image once, by its path from {root}"
    rows = rows_by_key(path, table, KEY, "image", repair, one_spelling)
    names = [one_spelling(file.relative_to(root).as_posix()) for file in files]
    missing = next((name for name in names if name not in rows), None)
    if missing is not None:
        problem = f"{path} has no row for {missing}"
        remedy = f"{KEY} is the path from {root}, and line {table[0].line} has '{table[0][KEY]}'"
        raise ConfigError("root", problem, f"add one, or remove the table ({remedy})")
    others = [name for name in table[0] if name != KEY]
    return {column: [rows[name][column] for name in names] for column in others}


def warn_of_other_tables(folders: Sequence[Path]) -> None:
    """FedsimWarning for tables that look like the one that is read, but are of another form or lie elsewhere."""
    root = folders[0]
    found = [path for folder in dict.fromkeys(folders) for path in sorted(folder.glob("metadata.*"))]
    unread = [path for path in found if path != root / TABLE and path.is_file()]
    if unread:
        text = f"{unread[0]} is not read: what is known of images stands in {root / TABLE}, by their path from {root}"
        warnings.warn(text, FedsimWarning, stacklevel=3)


def one_spelling(name: str) -> str:
    r"""A path as it is compared, whatever system wrote it.

    >>> one_spelling(r".\train\cat\1.png"), one_spelling("./train//cat/1.png")
    ('train/cat/1.png', 'train/cat/1.png')
    """
    return PurePosixPath(unicodedata.normalize("NFC", name.strip().replace("\\", "/"))).as_posix()
