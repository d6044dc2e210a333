"""What may happen to the files of a run: deleted, cut, flipped, swapped, copied in from another run, replaced."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

JUNK_LINES = [
    b"", b"null", b"[]", b"{}", b"0", b'"x"', b"{", b"[" * 5000, b"[" * 200_000, b"9" * 5000, b"\xff\xfe", b"\0" * 64,
    b"\x1b[2J", b'{"round": 1}', b'{"round": "1"}', b'{"round": 2.5}', b'{"round": true}', b'{"round": -1}',
    b'{"round": 1e999}', b'{"round": null}', b'{"round": 99999999999999999999}', b'{"round": NaN}',
    b'{"round": 2, "accuracy": "high", "clients": [], "attack": 3, "times": {"x": "y"}}',
    b'{"round": 3, "clients": {"update_norm": {"a": 1}}}', b'{"round": 3, "round": 4}', b"\xef\xbb\xbf{}",
]  # fmt: skip
"""Lines that no run writes, and contents that no file of a run has."""


@dataclass(frozen=True)
class Scene:
    """Where damage is done.

    Attributes:
        directory: of the run.
        foreign: directory of the same run with another seed.
        outside: a file that belongs to somebody else.
    """

    directory: Path
    foreign: Path
    outside: Path
    draw: random.Random

    def file(self) -> Path:
        """One of the files that matter, each kind as often as the others."""
        files = [path for path in sorted(self.directory.rglob("*")) if path.is_file() and not path.is_symlink()]
        kinds = sorted({self._kind(path) for path in files})
        kind = self.draw.choice(kinds)
        return self.draw.choice([path for path in files if self._kind(path) == kind])

    def _kind(self, path: Path) -> str:
        return "events" if "tfevents" in path.name else path.name

    def checkpoints(self) -> list[Path]:
        return sorted((self.directory / "checkpoints").glob("*.safetensors"))


def delete(scene: Scene) -> str:
    path = scene.file()
    path.unlink()
    return f"{path.name} is deleted"


def empty(scene: Scene) -> str:
    path = scene.file()
    path.write_bytes(b"")
    return f"{path.name} is emptied"


def truncate(scene: Scene) -> str:
    path = scene.file()
    size = scene.draw.randint(0, path.stat().st_size)
    os.truncate(path, size)
    return f"{path.name} is cut after {size} bytes"


def flip(scene: Scene) -> str:
    path = scene.file()
    content = bytearray(path.read_bytes() or b"\0")
    place, bit = scene.draw.randrange(len(content)), scene.draw.randrange(8)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    return f"bit {bit} of byte {place} of {path.name} is flipped"


def overwrite(scene: Scene) -> str:
    path = scene.file()
    content = bytearray(path.read_bytes())
    place, size = scene.draw.randrange(len(content) + 1), scene.draw.choice([1, 8, 512])
    content[place : place + size] = bytes(size) if scene.draw.random() < 0.5 else scene.draw.randbytes(size)
    path.write_bytes(content)
    return f"{size} bytes from {place} of {path.name} are overwritten"


def junk_file(scene: Scene) -> str:
    path, content = scene.file(), scene.draw.choice(JUNK_LINES)
    path.write_bytes(content)
    return f"{path.name} holds {content[:40]!r}"


def swap(scene: Scene) -> str:
    one, other = scene.file(), scene.file()
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    return f"{one.name} and {other.name} are swapped"


def rename(scene: Scene) -> str:
    path = scene.file()
    name = scene.draw.choice([f"{path.name}~", f"{path.name}.bak", path.name.upper(), "x\x1b[2J", "\udcff", "a\nb"])
    path.rename(path.with_name(name))
    return f"{path.name} is renamed {name!r}"


def foreign_file(scene: Scene) -> str:
    path = scene.file()
    other = scene.foreign / path.relative_to(scene.directory)
    if other.is_file():
        shutil.copyfile(other, path)
    return f"{path.name} is that of another run"


def checkpoint_of_another_name(scene: Scene) -> str:
    stored = scene.checkpoints()
    if not stored:
        return "there is no checkpoint"
    path = scene.draw.choice(stored)
    name = scene.draw.choice(["round_000006", "round_000007", "round_000002", "round_999999", "round_0", "round_-1"])
    (shutil.copyfile if scene.draw.random() < 0.5 else shutil.move)(path, path.with_name(f"{name}.safetensors"))
    return f"{path.name} is named {name}, too"


def foreign_checkpoint(scene: Scene) -> str:
    path = scene.draw.choice(sorted((scene.foreign / "checkpoints").glob("*.safetensors")))
    name = scene.draw.choice([path.name, "round_000005.safetensors", "round_000006.safetensors"])
    shutil.copyfile(path, scene.directory / "checkpoints" / name)
    return f"{path.name} of another run is copied in as {name}"


def replace_by_folder(scene: Scene) -> str:
    path = scene.file()
    path.unlink()
    path.mkdir()
    if scene.draw.random() < 0.5:
        (path / "x").write_text("x")
    return f"{path.name} is a folder"


def replace_by_link(scene: Scene) -> str:
    path = scene.file()
    target = scene.draw.choice(
        [scene.outside, Path("nowhere"), Path(path.name), Path("/dev/null"), Path("/dev/zero")]
    )
    path.unlink()
    path.symlink_to(target)
    return f"{path.name} is a link to {target.name}"


def replace_by_special(scene: Scene) -> str:
    path, kind = scene.file(), scene.draw.choice(["FIFO", "socket"])
    path.unlink()
    if kind == "FIFO":
        os.mkfifo(path)
    else:
        here = os.getcwd()  # the name of a socket is short
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
        os.chdir(here)
    return f"{path.name} is a {kind}"


def folder_damage(scene: Scene) -> str:
    folder = scene.directory / scene.draw.choice(["checkpoints", "logs", "honest", "byzantine"])
    how = scene.draw.choice(["deleted", "a file", "a link to nowhere", "a FIFO", "empty"])
    if folder.exists():
        shutil.rmtree(folder)
    if how == "a file":
        folder.write_text("x")
    elif how == "a link to nowhere":
        folder.symlink_to("nowhere")
    elif how == "a FIFO":
        os.mkfifo(folder)
    elif how == "empty":
        folder.mkdir()
    return f"{folder.name} is {how}"


def metric_lines(scene: Scene) -> str:
    path = scene.directory / "metrics.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    how, place = (
        scene.draw.choice(["lost", "doubled", "shuffled", "junk", "foreign", "changed", "joined", "later"]),
        0,
    )
    place = scene.draw.randrange(len(lines)) if lines else 0
    there = lines[place : place + 1]
    if how == "lost":
        del lines[place : place + scene.draw.randint(1, 3)]
    elif how == "doubled":
        lines[place:place] = there
    elif how == "shuffled":
        scene.draw.shuffle(lines)
    elif how == "junk":
        lines.insert(place, scene.draw.choice(JUNK_LINES))
    elif how == "foreign":
        other = (scene.foreign / "metrics.jsonl").read_bytes().split(b"\n")
        lines[place : place + 1] = other[place : place + 1]
    elif how == "changed":
        lines[place : place + 1] = [_with_another_number(line, scene.draw) for line in there]
    elif how == "joined":
        lines[place : place + 2] = [b" ".join(lines[place : place + 2])]
    elif how == "later":
        lines += [line.replace(b'"round": ', b'"round": 1') for line in there]
    if path.is_file():
        path.write_bytes(b"".join(line + b"\n" for line in lines))
    return f"in metrics.jsonl line {place + 1} is {how}"


def _with_another_number(line: bytes, draw: random.Random) -> bytes:
    places = [place for place, byte in enumerate(line) if byte in b"0123456789"]
    changed = bytearray(line)
    for place in draw.sample(places, min(len(places), 2)):
        changed[place] = draw.choice(b"0123456789")
    return bytes(changed)


def json_value(scene: Scene) -> str:
    path = scene.directory / scene.draw.choice(["summary.json", "environment.json", "partition.json"])
    try:
        values = json.loads(path.read_text())
        key = scene.draw.choice(sorted(values))
    except (OSError, ValueError, TypeError):
        return f"{path.name} is left"
    values[key] = scene.draw.choice([None, [], {}, "x", -1, 1e308, True, "\x1b[2J", float("nan")])
    path.write_text(json.dumps(values))
    return f"in {path.name} {key} is {values[key]!r}"


KINDS: Sequence[Callable[[Scene], str]] = (
    delete, empty, truncate, flip, flip, overwrite, junk_file, swap, rename, foreign_file, checkpoint_of_another_name,
    foreign_checkpoint, replace_by_folder, replace_by_link, replace_by_special, folder_damage, metric_lines,
    metric_lines, metric_lines, json_value,
)  # fmt: skip


def damage(scene: Scene, times: int) -> str:
    """Damage of so many kinds, in words."""
    return "; ".join(scene.draw.choice(KINDS)(scene) for _ in range(times))
