"""The text of a plugin: by it a run and a sweep recognise another version, and a copy stays with the run."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedsim.files import whole_or_not_at_all

COPIES = "plugins"
PLUGINS, IMPORTS = "plugins", "plugin_imports"


@dataclass(frozen=True)
class PluginSource:
    """A plugin as it was loaded.

    Attributes:
        path: of its file.
        files: what is in it and in the files beside it that it imports, by their paths seen from its folder.
    """

    path: Path
    files: Mapping[str, bytes]

    @property
    def paths(self) -> set[Path]:
        """Of its files."""
        return {(self.path.parent / name).resolve() for name in self.files}

    def digests(self) -> dict[str, str]:
        """The SHA-256 of each file, by its path."""
        folder = self.path.resolve().parent
        return {str(folder / name): hashlib.sha256(text).hexdigest() for name, text in self.files.items()}


def digest_of(plugins: Iterable[PluginSource]) -> str:
    """A digest of what is in the files, whatever their folders and names; empty without any."""
    digests = sorted({digest for plugin in plugins for digest in plugin.digests().values()})
    return hashlib.blake2b("".join(digests).encode(), digest_size=16).hexdigest() if digests else ""


def facts_of(plugins: Collection[PluginSource]) -> dict[str, dict[str, str]]:
    """What a run records: digests of the files by their paths, those apart that are imported by the plugins."""
    files = {path: digest for plugin in plugins for path, digest in plugin.digests().items()}
    own = {str(plugin.path.resolve()) for plugin in plugins}
    return {
        PLUGINS: {path: digest for path, digest in files.items() if path in own},
        IMPORTS: {path: digest for path, digest in files.items() if path not in own},
    }


def what_differs(plugins: Collection[PluginSource], facts: Mapping[str, Any]) -> str | None:
    """The first file that a run has recorded otherwise, or not at all; None if all are as they were.

    Args:
        facts: that it has recorded, as :func:`facts_of` gives them; without any, it had no plugins.
    """
    now, recorded = _files_in(facts_of(plugins)), _files_in(facts)
    for ours, theirs in ((now, recorded), (recorded, now)):
        for path, digest in ours.items():
            if digest not in theirs.values():
                return Path(path).name
    return None


def _files_in(facts: Mapping[str, Any]) -> dict[str, str]:
    found = (facts.get(key) for key in (PLUGINS, IMPORTS))
    return {path: digest for files in found if isinstance(files, dict) for path, digest in files.items()}


def keep_copies(plugins: Collection[PluginSource], directory: Path) -> None:
    """Write the files of each plugin into a folder of its own in the run directory."""
    taken: set[str] = set()
    for plugin in plugins:
        name, number = plugin.path.stem, 1
        while name in taken:
            number += 1
            name = f"{plugin.path.stem}-{number}"
        taken.add(name)
        for file, text in plugin.files.items():
            path = directory / COPIES / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_or_not_at_all(path) as part:
                part.write_bytes(text)
