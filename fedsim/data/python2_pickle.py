"""Reads pickled dictionaries of numbers and arrays, and executes nothing that is in them.

A pickle is a program: it may name any function and call it. Here every name but the few that arrays are made of
is refused, and even those stand for recorders of ours, so that nothing of a file's choice ever runs.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 2**30
"""Bytes of the largest file that is read; CIFAR's largest has 155 MB."""


class RefusedPickleError(ValueError):
    """The file is damaged, or asks for what no data file needs."""


class _RecordedType:
    """Stands for ``numpy.dtype``: remembers which."""

    def __init__(self, code: Any = None, *flags: Any) -> None:
        self.code = code

    def __setstate__(self, state: Any) -> None:
        pass


class _RecordedArray:
    """Stands for ``numpy.ndarray``: remembers the state that it is given."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> NDArray[np.uint8]:
        """The array, if it is one of bytes."""
        if not isinstance(self.state, tuple) or len(self.state) != 5:
            raise RefusedPickleError("an array without content")
        _, shape, kind, fortran_order, content = self.state
        code = getattr(kind, "code", None)
        if code not in ("u1", b"u1") or fortran_order is not False or not isinstance(content, bytes):
            raise RefusedPickleError("an array of something else than bytes")
        if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
            raise RefusedPickleError("an array without shape")
        try:
            return np.frombuffer(content, dtype=np.uint8).reshape(shape)
        except ValueError as error:
            raise RefusedPickleError(str(error)) from None


class _Reconstruct:
    """Stands for the function that makes an empty array."""

    def __new__(cls, *arguments: Any) -> Any:
        return _RecordedArray()

    def __setstate__(self, state: Any) -> None:
        pass


class _Encode:
    """Stands for ``_codecs.encode``, by which Python 3 writes bytes in the old protocols."""

    def __new__(cls, text: Any, encoding: Any = "latin1") -> Any:
        if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
            raise RefusedPickleError("bytes that are not written as text")
        return text.encode("latin1")

    def __setstate__(self, state: Any) -> None:
        pass


# All of them are classes with __setstate__, because a pickle may set attributes of whatever has none.
ALLOWED: Mapping[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy", "ndarray"): _RecordedArray,
    ("numpy", "dtype"): _RecordedType,
    ("_codecs", "encode"): _Encode,
}


class _Reader(pickle._Unpickler):  # the one in C allocates whatever size a file claims
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise RefusedPickleError(f"it asks for {module}.{name}, which no data file needs")
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise RefusedPickleError("it refers to something outside")


def read_dictionary(path: Path) -> dict[str, Any]:
    """The dictionary in a pickle: text keys, values of numbers, text, lists and uint8 arrays.

    Text that Python 2 wrote comes as bytes where it is a value.

    Raises:
        RefusedPickleError: the file is damaged, too large, no dictionary, or asks for code.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if path.stat().st_size > LARGEST:
            raise RefusedPickleError(f"it is larger than {LARGEST} bytes")
        try:
            content = _Reader(file, encoding="bytes").load()
        except RefusedPickleError:
            raise
        except Exception as error:  # a damaged pickle raises nearly everything
            raise RefusedPickleError(f"damaged ({type(error).__name__}: {error})") from None
    if not isinstance(content, dict):
        raise RefusedPickleError("it holds no dictionary")
    return {
        _text(key): value.array() if isinstance(value, _RecordedArray) else value for key, value in content.items()
    }


def _value(value: Any) -> Any:
    return value.array() if isinstance(value, _RecordedArray) else value


def _text(key: Any) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)
