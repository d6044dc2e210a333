"""Paths that users write, files that are files, and files that are whole or not there."""

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fedsim.errors import ConfigError

LONGEST_NAME, LONGEST_PATH = 255, 4095
"""Bytes of a file's name and of a path to it."""

KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}
"""What may have the name of a file and is none."""

VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|\{([^{}]*)\})")


def user_path(text: str | Path, key: str) -> Path:
    """The path that a user wrote: the one rule for every path on a command line or in a file.

    ``$NAME`` and ``${NAME}`` are variables of the environment, ``$$`` is a dollar sign, and ``~`` or ``~name`` at the
    beginning is a home.

    Args:
        key: where it is written, for the message.

    Raises:
        ConfigError: a variable is not set, a user is not known, or no file can have such a name.

    >>> user_path("data/cost$$", "data.root").as_posix()
    'data/cost$'
    """
    words = VARIABLE.sub(lambda found: _value(found, key), str(text))
    path = os.path.expanduser(words)
    if path.startswith("~"):
        user = path.split(os.sep)[0]
        remedy = "set HOME, or write the path in full" if user == "~" else "write the path in full"
        raise ConfigError(key, f"the home {user} is not known", remedy)
    try:
        name = Path(file_name(path))
    except ValueError:
        raise ConfigError(key, f"no file can have the name {path!r}", "name another") from None
    _require_short(name, key)
    return name


def _require_short(path: Path, key: str) -> None:
    """ConfigError for a path that no file system takes; 255 bytes is what nearly all allow a name."""
    part = max((len(os.fsencode(part)) for part in path.parts), default=0)
    whole = len(os.fsencode(path))
    if part > LONGEST_NAME or whole > LONGEST_PATH:
        size, longest = (f"a name of {part}", LONGEST_NAME) if part > LONGEST_NAME else (f"{whole}", LONGEST_PATH)
        raise ConfigError(key, f"{path} has {size} bytes", f"no file can have more than {longest}")


def _value(found: re.Match[str], key: str) -> str:
    dollar, *names = found.groups()
    if dollar:
        return "$"
    name = names[0] or names[1]
    if name not in os.environ:
        raise ConfigError(key, f"the variable {found[0]} is not set", "set it, or write $$ for a dollar sign")
    return os.environ[name]


def as_typed(path: Path) -> str:
    """What :func:`user_path` reads as this path.

    >>> as_typed(Path("runs/cost$"))
    'runs/cost$$'
    """
    typed = str(path).replace("$", "$$")
    return str(Path.cwd() / typed) if typed.startswith("~") else typed


def file_name(text: str) -> str:
    """A name as the file system takes it: in UTF-8 where its own encoding (``LC_ALL=C``) lacks a letter.

    Raises:
        ValueError: no file can have it.
    """
    if "\0" in text:
        raise ValueError("a zero byte")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return os.fsdecode(text.encode("utf-8", "surrogateescape"))
    return text


def printable(text: str) -> str:
    """The text with everything escaped that UTF-8 cannot hold, as the bytes of a file name in another encoding.

    >>> printable("caf\\udce9")
    'caf\\\\udce9'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@contextmanager
def readable_path(path: Path) -> Iterator[Path]:
    """A path to the same file for a library that takes only UTF-8."""
    if printable(str(path)) == str(path):
        yield path
        return
    with path.open("rb") as file:
        yield Path(f"/dev/fd/{file.fileno()}")


def reserve(descriptor: int, start: int, size: int) -> None:
    """Set room on disk aside for a part of a file, where the system can (macOS cannot): OSError if there is none."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, start, size)
    else:
        os.truncate(descriptor, max(start + size, os.fstat(descriptor).st_size))


def folder_exists(path: Path) -> bool:
    """Whether there is a folder; a path that cannot even be looked at has none."""
    try:
        return path.is_dir()
    except OSError:  # a name too long, or a folder above that may not be entered
        return False


def file_exists(path: Path) -> bool:
    """Whether there is a file; a path that cannot even be looked at has none."""
    try:
        return path.is_file()
    except OSError:
        return False


class NotAFileError(OSError):
    """Something else has the name of a file; ``strerror`` says what."""


def open_file(path: Path) -> BinaryIO:
    """A file that is open to be read.

    Raises:
        OSError: it cannot be read; at once where its name is that of a FIFO, which would wait for a writer, or of a
            device, which may have no end.
    """
    _require_file(path, path.stat().st_mode)
    return open(path, "rb", opener=_open_at_once)


def _open_at_once(path: str, flags: int) -> int:
    """A FIFO that has taken the name of a file meanwhile would be waited for."""
    return _checked(os.open(path, flags | os.O_NONBLOCK), Path(path))


def read_bytes(path: Path) -> bytes:
    """What a file holds; OSError as :func:`open_file`."""
    with open_file(path) as file:
        return file.read()


def read_text(path: Path) -> str:
    """What a file holds, in UTF-8; OSError as :func:`open_file`."""
    return read_bytes(path).decode("utf-8")


def open_unlinked(path: Path, flags: int) -> int:
    """A descriptor of a file, which is made if need be, with the permissions that the umask leaves.

    Raises:
        OSError: it cannot be opened; or its name is that of a link, which somebody may have put there, or of no file.
    """
    try:
        return _checked(os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666), path)
    except OSError:
        require_no_link(path)
        if path.exists():
            _require_file(path, path.stat().st_mode)
        raise


def write_for_nobody_else() -> None:
    """What this process makes from now on is not for everybody to write, whatever umask its launcher has left."""
    os.umask(os.umask(0o077) | stat.S_IWOTH)


def require_no_link(path: Path) -> None:
    """NotAFileError where a link has this name."""
    if path.is_symlink():
        raise NotAFileError(errno.ELOOP, "it is a link, which is not followed", str(path))


def _checked(descriptor: int, path: Path) -> int:
    try:
        _require_file(path, os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _require_file(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise NotAFileError(
            errno.EINVAL, f"it is {KINDS.get(stat.S_IFMT(mode), 'something else')}, not a file", str(path)
        )


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all; names of files in another encoding keep their bytes."""
    with whole_or_not_at_all(path) as part:
        part.write_text(text, encoding="utf-8", errors="surrogateescape")


def remove_parts(folder: Path) -> None:
    """Remove what killed processes were writing to files of this folder, where nobody else writes now."""
    for part in folder.glob(".*.????????.part*"):
        with suppress(OSError):
            part.unlink()


@contextmanager
def whole_or_not_at_all(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to, which takes its name when the block ends well and is removed otherwise.

    Several processes may write the same file: each has a part of its own, and the last one's stays.

    Raises:
        OSError: it cannot be written; or its name is that of a device or a folder, say, which a file cannot replace.
    """
    if path.exists():
        _require_file(path, path.stat().st_mode)
    part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
