"""The JSON files of LEAF, which hold the samples of some users each.

They are dictionaries: ``users`` (names), ``num_samples`` (of each), ``user_data`` (name -> ``x`` and ``y``, lists of
inputs and labels).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedsim.errors import ConfigError
from fedsim.files import read_bytes


@dataclass(frozen=True)
class User:
    """What a file holds of a user.

    Attributes:
        x: inputs, as they are in the file.
        y: labels.
    """

    name: str
    x: Sequence[Any]
    y: Sequence[Any]


class _Numbers(dict[str, float]):
    """A number for each spelling: pixels have few values, so that equal ones share their memory."""

    def __missing__(self, text: str) -> float:
        self[text] = value = float(text)
        return value


def json_files(folder: Path, repair: str) -> list[Path]:
    """The JSON files in a folder, sorted.

    Raises:
        ConfigError: there is none.
    """
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix == ".json" and not path.name.startswith("."))
    except OSError as error:
        raise ConfigError("root", f"cannot read {folder}: {error.strerror}", repair) from None
    if not found:
        raise ConfigError("root", f"{folder} holds no .json file", repair)
    return found


def read_users(path: Path, repair: str) -> Iterator[User]:
    """The users of a file, in its order.

    Raises:
        ConfigError: the file is damaged, or lacks something; the message names it.
    """
    try:
        content = json.loads(read_bytes(path), parse_float=_Numbers().__getitem__)
        yield from _users(content)
    except OSError as error:
        raise ConfigError("root", f"cannot read {path}: {error.strerror}", repair) from None
    except RecursionError:
        raise ConfigError("root", f"{path} is not usable: it is nested too deeply", repair) from None
    except ValueError as error:  # no JSON, or no text
        raise ConfigError("root", f"{path} is not usable: {error}", repair) from None


def _users(content: Any) -> Iterator[User]:
    names, counts = _list(content, "users"), _list(content, "num_samples")
    data = content.get("user_data")
    if not isinstance(data, dict):
        raise ValueError("it has no dictionary 'user_data'")
    if len(names) != len(counts):
        raise ValueError(f"it has {len(names)} users, but {len(counts)} 'num_samples'")
    for name, count in zip(names, counts, strict=True):
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"{name!r} is no name of a user")
        if name not in data:
            raise ValueError(f"'user_data' has no user '{name}'")
        held = data.pop(name)  # so that only what is not yet used takes memory
        x, y = _list(held, "x", f" of user '{name}'"), _list(held, "y", f" of user '{name}'")
        if not len(x) == len(y) == count:
            raise ValueError(f"user '{name}' has {len(x)} inputs, {len(y)} labels and {count} 'num_samples'")
        yield User(name, x, y)


def _list(content: Any, key: str, of: str = "") -> list[Any]:
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, list):
        raise ValueError(f"it has no list '{key}'{of}")
    return found
