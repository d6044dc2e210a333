"""Walking folders of images: what belongs to the data, what is the system's, and what is left out."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fedsim.data.images.image_formats import format_of_suffix

SYSTEM_NAMES = frozenset({
    *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot"),  # file servers
    *("__macosx", "$recycle.bin", "recycler", "system volume information", "lost+found", "found.000"),
    *("__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
})  # fmt: skip
"""Names, in lower case, that file servers, archivers and operating systems give to files and folders of their own."""

COMPANIONS = frozenset({
    *(".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".toml", ".ini", ".cfg"),
    *(".html", ".htm", ".log", ".db", ".doc", ".docx", ".odt", ".xls", ".xlsx", ".ods", ".pdf"),
    *(".bib", ".url", ".lnk", ".py", ".ipynb", ".sh", ".m", ".r", ".zip", ".tar", ".gz", ".tgz", ".bz2"),
    *(".xz", ".7z", ".rar", ".md5", ".sha1", ".sha256", ".mp4", ".mpg", ".mpeg", ".avi", ".mov", ".mkv", ".webm"),
})  # fmt: skip
"""Suffixes of what lies beside images and is none: texts, tables, archives, films."""

COMPANION_NAMES = frozenset({"readme", "license", "licence", "copying", "md5sums", "sha256sums"})


@dataclass
class Found:
    """What a walk has found.

    Attributes:
        images: sorted.
        left_out: files by suffix that may well be images, but are of no format that can be read.
    """

    images: list[Path] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden or the system's, and so no part of the data.

    >>> [is_hidden(name) for name in (".DS_Store", "._cat.jpg", "@eaDir", "__MACOSX", "cat")]
    [True, True, True, True, False]
    """
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder that belong to the data, sorted. OSError for one that cannot be read."""
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name) and path.is_dir())


def images_below(folder: Path) -> Found:
    """The images in a folder and the folders below, linked ones too. OSError for a folder that cannot be read."""
    found, seen = Found(), {_identity(folder)}
    for place, folders, names in os.walk(folder, onerror=_give_up, followlinks=True):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        folders[:] = [name for name in folders if _is_new(Path(place, name), seen)]
        _sort_out(Path(place), names, found)
    found.images.sort()
    return found


def images_in(folder: Path) -> Found:
    """The images in a folder itself. OSError for a folder that cannot be read."""
    found = Found()
    _sort_out(folder, [path.name for path in folder.iterdir() if not path.is_dir()], found)
    found.images.sort()
    return found


def in_words(left_out: Counter[str]) -> str:
    """How many files of which suffixes, the most frequent first.

    >>> in_words(Counter({".heic": 2, "": 1}))
    '2 .heic, 1 without a suffix'
    """
    return ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in left_out.most_common())


def _sort_out(place: Path, names: list[str], found: Found) -> None:
    readable = format_of_suffix()
    for name in names:
        if is_hidden(name):
            continue
        suffix = Path(name).suffix.lower()
        if suffix in readable:
            found.images.append(place / name)
        elif name.lower().endswith(".nii.gz"):
            found.left_out[".nii.gz"] += 1
        elif suffix not in COMPANIONS and name.lower() not in COMPANION_NAMES:
            found.left_out[suffix] += 1


def _is_new(folder: Path, seen: set[tuple[int, int]]) -> bool:
    """Whether the walk has not come to this folder before: links may lead in circles."""
    identity = _identity(folder)
    new = identity not in seen
    seen.add(identity)
    return new


def _identity(folder: Path) -> tuple[int, int]:
    facts = folder.stat()
    return facts.st_dev, facts.st_ino


def _give_up(error: OSError) -> None:
    raise error
