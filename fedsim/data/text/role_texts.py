"""Texts of roles, from a play as plain text or from LEAF's JSON files, as windows of characters."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from fedsim.data.formats.leaf import User, read_users
from fedsim.data.text.characters import encode
from fedsim.data.text.role_windows import RoleWindows
from fedsim.errors import ConfigError
from fedsim.files import read_bytes

ARRAYS = ("text", "roles", "names", "ends")

HEADING = re.compile(r"[^\W\d_][^:]{0,60}:")
"""A line that says who speaks."""


def read_play(path: Path, length: int, repair: str) -> RoleWindows:
    """All windows of the roles of a play.

    Args:
        path: of a text in which a line ``NAME:`` after an empty one says who speaks what follows, as in Karpathy's
            ``input.txt``. What stands before the first one is left out.
        length: characters of a window.
        repair: what the user does about a damaged file, in words.

    Raises:
        ConfigError: the file cannot be read, or nobody speaks more than ``length`` characters.
    """
    try:
        spoken = spoken_by_role(read_bytes(path).decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError("root", f"cannot read {path}: {error.strerror}", repair) from None
    except UnicodeDecodeError as error:
        raise ConfigError("root", f"cannot read {path}: byte {error.start} is not UTF-8", repair) from None
    if not spoken:
        raise ConfigError("root", f"{path} has no line that says who speaks, such as 'HAMLET:'", repair)
    texts = {role: encode(text) for role, text in sorted(spoken.items())}
    longest = max(map(len, texts.values()))
    if longest <= length:
        problem = f"no role in {path} speaks more than {longest} characters"
        raise ConfigError("length", f"{length}, but {problem}", f"take less than {longest}")
    texts = {role: text for role, text in texts.items() if len(text) > length}
    windows = torch.tensor([len(text) - length for text in texts.values()])
    ends = torch.tensor([len(text) for text in texts.values()]).cumsum(0)
    starts = [torch.arange(end - length - count, end - length) for end, count in zip(ends, windows, strict=True)]
    roles = torch.arange(len(texts)).repeat_interleave(windows)
    return RoleWindows(torch.from_numpy(np.concatenate(list(texts.values()))), torch.cat(starts), roles, list(texts))


def spoken_by_role(play: str) -> dict[str, str]:
    """What each role says, line by line.

    >>> spoken_by_role("A:\\nHark!\\n\\nB:\\nWho's there?\\nSpeak.\\n\\nA:\\nI:\\n")
    {'A': 'Hark!\\nI:\\n', 'B': "Who's there?\\nSpeak.\\n"}
    """
    spoken: dict[str, list[str]] = {}
    role, after_empty = None, True
    for line in map(str.strip, play.splitlines()):
        if after_empty and HEADING.fullmatch(line):
            role = line[:-1]
        elif line and role is not None:
            spoken.setdefault(role, []).append(f"{line}\n")
        after_empty = not line
    return {role: "".join(lines) for role, lines in spoken.items()}


def convert_leaf(sides: Sequence[Sequence[Path]], length: int, folder: Path, repair: str) -> None:
    """Read LEAF's files one by one and write :data:`ARRAYS` into ``folder``.

    These are token ids [N * (T + 1)], window after window, each with the character after it; the number of each
    window's role [N]; the roles' names [R], sorted; and how many windows there are up to the end of each side.

    Args:
        sides: the files of each side.
        length: characters that the windows should have.
        repair: what the user does about a damaged file, in words.

    Raises:
        ConfigError: a file is damaged, or has windows of another length; the message names it.
    """
    texts: list[NDArray[np.uint8]] = []
    roles: list[str] = []
    ends = []
    for side in sides:
        for path in tqdm(side, desc="reading JSON files", delay=2, mininterval=1):
            for user in read_users(path, repair):
                _require_windows(user, path, length, repair)
                texts.append(encode("".join(x + y for x, y in zip(user.x, user.y, strict=True))))
                roles += [user.name] * len(user.y)
        ends.append(len(roles))
    names, numbers = np.unique(np.array(roles, dtype=np.str_), return_inverse=True)
    np.save(folder / "text.npy", np.concatenate([np.empty(0, dtype=np.uint8), *texts]))
    np.save(folder / "roles.npy", numbers.astype(np.int32))
    np.save(folder / "names.npy", names)
    np.save(folder / "ends.npy", np.array(ends))


def _require_windows(user: User, path: Path, length: int, repair: str) -> None:
    for x, y in zip(user.x, user.y, strict=True):
        if not isinstance(x, str) or not isinstance(y, str) or not x or len(y) != 1:
            problem = f"a sample of '{user.name}' is no text with the character after it"
            raise ConfigError("root", f"{path} is not usable: {problem}", repair)
        if len(x) != length:
            problem = f"{length}, but '{user.name}' has a sample of {len(x)} characters in {path}"
            raise ConfigError("length", problem, f"set data.length to {len(x)}")
