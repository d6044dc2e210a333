"""Reads pickled dictionaries of numbers and arrays, and executes nothing that is in them.

A pickle is a program: it may name any function and call it. Here every name but the few that arrays are made of
is refused, and even those stand for recorders of ours, so that nothing of a file's choice ever runs.
"""

import pickle
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

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
        if not isinstance(self.state, list) or len(self.state) != 5:
            raise RefusedPickleError("an array without content")
        _, shape, kind, fortran_order, content = self.state
        code = getattr(kind, "code", None)
        if code not in ("u1", b"u1") or fortran_order is not False or not isinstance(content, bytes):
            raise RefusedPickleError("an array of something else than bytes")
        if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
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


@lru_cache(maxsize=2)
def _latin1(text: str) -> bytes:
    """The same bytes for the same text: a few bytes of a file may ask for a long one again and again."""
    return text.encode("latin1")


class _Encode:
    """Stands for ``_codecs.encode``, by which Python 3 writes bytes in the old protocols."""

    def __new__(cls, text: Any, encoding: Any = "latin1") -> Any:
        if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
            raise RefusedPickleError("bytes that are not written as text")
        return _latin1(text)

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


class _Known(dict[int, Any]):
    """What the reader does for each opcode; others are refused."""

    def __missing__(self, opcode: int) -> Any:
        raise RefusedPickleError(f"it asks for opcode {opcode}, which no data file needs")


OPCODES = (
    *(pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.REDUCE),
    *(pickle.BUILD, pickle.EMPTY_DICT, pickle.DICT, pickle.SETITEM, pickle.SETITEMS, pickle.EMPTY_LIST, pickle.LIST),
    *(pickle.APPEND, pickle.APPENDS, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.INT, pickle.BININT),
    *(pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.STRING, pickle.BINSTRING, pickle.SHORT_BINSTRING),
    *(pickle.UNICODE, pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.BINBYTES, pickle.SHORT_BINBYTES),
    *(pickle.PUT, pickle.BINPUT, pickle.LONG_BINPUT, pickle.GET, pickle.BINGET, pickle.LONG_BINGET, pickle.MEMOIZE),
)


class _Reader(pickle._Unpickler):  # the one in C allocates whatever size a file claims
    dispatch: ClassVar[dict[int, Any]] = _Known({code[0]: pickle._Unpickler.dispatch[code[0]] for code in OPCODES})

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise RefusedPickleError(f"it asks for {module}.{name}, which no data file needs")
        return ALLOWED[module, name]


def _read_tuple(reader: Any, count: int | None) -> None:
    """Tuples are read as lists, which cannot be keys: the hash of deep ones takes for ever, or all the stack."""
    if count is None:
        items = reader.pop_mark()
    else:
        items = reader.stack[len(reader.stack) - count :]
        del reader.stack[len(reader.stack) - count :]
    reader.append(items)


for opcode, length in (
    *((pickle.EMPTY_TUPLE, 0), (pickle.TUPLE1, 1), (pickle.TUPLE2, 2), (pickle.TUPLE3, 3)),
    (pickle.TUPLE, None),
):
    _Reader.dispatch[opcode[0]] = partial(_read_tuple, count=length)


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
        finally:
            _latin1.cache_clear()
    if not isinstance(content, dict):
        raise RefusedPickleError("it holds no dictionary")
    return {
        _text(key): value.array() if isinstance(value, _RecordedArray) else value for key, value in content.items()
    }


def _value(value: Any) -> Any:
    return value.array() if isinstance(value, _RecordedArray) else value


def _text(key: Any) -> str:
    if not isinstance(key, bytes | str):
        raise RefusedPickleError("it has a key that is no text")
    return key.decode("latin1") if isinstance(key, bytes) else key
