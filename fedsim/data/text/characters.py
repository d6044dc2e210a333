"""Characters as token ids: the alphabet of LEAF's Shakespeare."""

import string

import numpy as np
from numpy.typing import NDArray

ALPHABET = (
    "\n !\"&'(),-.0123456789:;>?" + string.ascii_uppercase + "[]" + string.ascii_lowercase + "}"
)  # fmt: skip
"""The characters 0, 1, ..., in LEAF's order."""

UNKNOWN = len(ALPHABET) - 1
"""What any other character is: LEAF finds it at place -1, which its one-hot vectors take for the last one."""

NAMES = tuple({"\n": "newline", " ": "space"}.get(character, character) for character in ALPHABET)
"""How the characters are called as classes."""

_FURTHER = 128
"""Stands for all characters beyond ASCII."""

_TABLE = np.full(_FURTHER + 1, UNKNOWN, dtype=np.uint8)
_TABLE[[ord(character) for character in ALPHABET]] = np.arange(len(ALPHABET))


def encode(text: str) -> NDArray[np.uint8]:
    """The token id of each character.

    >>> encode("A b").tolist(), len(ALPHABET), encode("$é}").tolist()
    ([25, 1, 54], 80, [79, 79, 79])
    """
    codes = np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")
    return _TABLE[np.minimum(codes, _FURTHER)]
