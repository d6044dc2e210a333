"""IDX files, the format of MNIST: a header, then bytes; compressed by gzip or not.

The header is two zero bytes, the type of the values (8 for bytes), the number of dimensions, and the size of each as
a big-endian number of 32 bits.
"""

import gzip
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from fedsim.data.storage.converted import AT_ONCE
from fedsim.errors import ConfigError
from fedsim.files import open_file

BYTES = 8
GZIP = b"\x1f\x8b"


def read_labels(path: Path, repair: str) -> NDArray[np.uint8]:
    """The labels [n] of a file of one dimension.

    Raises:
        ConfigError: the file is missing or damaged; the message names it. So for all functions here.
    """
    with _opened(path, repair) as file:
        (count,) = _shape(file, 1)
        content = file.read(count)
        _require_whole(file, len(content), count, "labels")
        return np.frombuffer(content, dtype=np.uint8)


def images_shape(path: Path, repair: str) -> tuple[int, int, int]:
    """How many images there are, their height and width, by the header."""
    with _opened(path, repair) as file:
        count, height, width = _shape(file, 3)
        return count, height, width


def image_blocks(path: Path, repair: str) -> Iterator[NDArray[np.uint8]]:
    """All images, some at a time [k, H, W]."""
    with _opened(path, repair) as file:
        count, height, width = _shape(file, 3)
        for start in range(0, count, AT_ONCE):
            wanted = min(AT_ONCE, count - start)
            content = file.read(wanted * height * width)
            found = len(content) // (height * width)
            if found < wanted:
                raise ValueError(f"it is cut off after {start + found} of {count} images")
            yield np.frombuffer(content, dtype=np.uint8).reshape(wanted, height, width)
        _require_whole(file, count, count, "images")


def _require_whole(file: IO[bytes], found: int, count: int, what: str) -> None:
    if found < count:
        raise ValueError(f"it is cut off after {found} of {count} {what}")
    if file.read(1):
        raise ValueError(f"it goes on after its {count} {what}")


def _shape(file: IO[bytes], dimensions: int) -> tuple[int, ...]:
    expected = bytes([0, 0, BYTES, dimensions])
    begins = file.read(4)
    if begins != expected:
        found = begins.hex(" ") or "nothing"
        raise ValueError(f"it begins with {found}, not with {expected.hex(' ')}, the magic number of such a file")
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise ValueError("it is cut off in its header")
    return struct.unpack(f">{dimensions}I", sizes)


@contextmanager
def _opened(path: Path, repair: str) -> Iterator[IO[bytes]]:
    """The content of an open file; whatever is wrong with it in the block becomes a ConfigError that names it."""
    try:
        with open_file(path) as file:
            compressed = file.read(2) == GZIP
            file.seek(0)
            if not compressed:
                yield file
                return
            with gzip.open(file) as content:
                yield cast(IO[bytes], content)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError("root", f"{path} is not usable: {what}", repair) from None
