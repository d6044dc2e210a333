"""NPZ archives: arrays by name, read some rows at a time; nothing is unpickled."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fedsim.errors import ConfigError
from fedsim.files import open_file

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class StoredArray:
    """An array in an archive, known by its header.

    Attributes:
        repair: what the user does about a damaged archive, in words.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    repair: str

    def read(self) -> NDArray[Any]:
        """All of it. ConfigError as :meth:`blocks`."""
        return np.concatenate(list(self.blocks(max(1, self.shape[0]))) or [np.empty(self.shape, self.dtype)])

    def blocks(self, at_once: int) -> Iterator[NDArray[Any]]:
        """Its rows, ``at_once`` together.

        Raises:
            ConfigError: the archive is damaged; the message names it.
        """
        count, *rest = self.shape
        with _member(self.path, self.name, self.repair) as file:
            _header(file, self.name)
            for start in range(0, count, at_once):
                rows = min(at_once, count - start)
                content = file.read(rows * prod(rest) * self.dtype.itemsize)
                if len(content) < rows * prod(rest) * self.dtype.itemsize:
                    raise ValueError(f"'{self.name}' is cut off")
                yield np.frombuffer(content, dtype=self.dtype).reshape(rows, *rest)
            if file.read(1):  # at the end, the checksum is compared, too
                raise ValueError(f"'{self.name}' goes on after its {count} rows")


def stored_array(path: Path, name: str, repair: str) -> StoredArray:
    """The array ``name`` of an archive; only its header is read.

    Raises:
        ConfigError: the archive is missing or damaged, lacks the array, or holds it as pickled objects.
    """
    with _member(path, name, repair) as file:
        shape, dtype = _header(file, name)
        return StoredArray(path, name, shape, dtype, repair)


def _header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"'{name}' is of an unknown version of the format")
    try:
        shape, fortran_order, dtype = HEADERS[version](file)
    except Exception:  # numpy lets through what its tokenizer raises
        raise ValueError(f"'{name}' has a damaged header") from None
    if dtype.hasobject:
        raise ValueError(f"'{name}' holds pickled objects, which are never read")
    if not shape:
        raise ValueError(f"'{name}' is a single number")
    if fortran_order and len(shape) > 1:
        raise ValueError(f"'{name}' is stored by columns")
    return shape, dtype


@contextmanager
def _member(path: Path, name: str, repair: str) -> Iterator[IO[bytes]]:
    """The file of an array; whatever is wrong with it in the block becomes a ConfigError that names the archive."""
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            if f"{name}.npy" not in archive.namelist():
                raise ValueError(f"it holds no '{name}'")
            with archive.open(f"{name}.npy") as member:
                yield member
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError("root", f"{path} is not usable: {what}", repair) from None
