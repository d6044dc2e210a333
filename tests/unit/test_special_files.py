"""A FIFO, a device, a socket or a folder where a file should be, and links where nothing but a file may be."""

import fcntl
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fedsim.config.source import read_yaml
from fedsim.data.formats.table import read_table
from fedsim.data.images.image_files import read_rgb
from fedsim.data.images.image_table import columns_of_images
from fedsim.data.split_file import read_split
from fedsim.errors import ConfigError
from fedsim.files import NotAFileError, read_text, whole_or_not_at_all, write_text
from fedsim.models.weights import read_weights, require_weights
from fedsim.plugins import load_plugin
from fedsim.records.logs import start_logs
from fedsim.run_directory.lock import hold, is_locked, lock_run_directory

pytestmark = pytest.mark.timeout(60)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        folder = os.getcwd()
        os.chdir(path.parent)  # names of sockets are short
        try:
            unix.bind(path.name)
        finally:
            os.chdir(folder)


KINDS: dict[str, Callable[[Path], None]] = {
    "a FIFO": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a socket": _socket,
    "a folder": Path.mkdir,
}
READERS: dict[str, Callable[[Path], object]] = {
    "config.yaml": read_yaml,
    "partition.json": read_split,
    "weights.pt": read_weights,
    "weights.safetensors": read_weights,
    "again.pt": require_weights,
    "table.csv": lambda path: read_table(path, ["a"], "fix it"),
    "metadata.csv": lambda path: columns_of_images(path.parent, []),
    "1.png": lambda path: read_rgb(path, None, "fix it"),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_named_at_once(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    KINDS[kind](path)
    with pytest.raises(ConfigError) as caught:
        READERS[name](path)
    assert str(path) in str(caught.value)
    assert f"it is {kind}, not a file" in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_plugin_is_a_file(tmp_path: Path, kind: str) -> None:
    KINDS[kind](tmp_path / "plugin.py")
    with pytest.raises(ConfigError, match="is not a Python file"):
        load_plugin(tmp_path / "plugin.py")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path, kind: str) -> None:
    """``--json /dev/null``, typed by root."""
    path = tmp_path / "readings.json"
    KINDS[kind](path)
    before = path.lstat()
    with pytest.raises(NotAFileError):
        write_text(path, "text")
    assert os.path.samestat(path.lstat(), before)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_links_to_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("file")
    assert read_text(tmp_path / "link") == "text"


@pytest.mark.parametrize("kind", ["a FIFO", "a folder", "a link"])
def test_a_lock_is_a_file_of_its_directory(tmp_path: Path, kind: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    lock = tmp_path / ".lock"
    if kind == "a link":
        lock.symlink_to(victim)
    else:
        KINDS[kind](lock)
    with pytest.raises(ConfigError, match=f"output_dir: cannot lock .*: it is {kind}, .*; remove it"):
        lock_run_directory(tmp_path)
    assert not is_locked(tmp_path)
    assert victim.read_text() == "precious"


def test_a_link_cannot_pretend_that_a_run_goes_on(tmp_path: Path) -> None:
    with (tmp_path / "held").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        (tmp_path / ".lock").symlink_to("held")
        assert not is_locked(tmp_path)


@pytest.mark.parametrize("link", ["logs", "logs/rank_3.log"])
def test_logs_do_not_follow_links(tmp_path: Path, link: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "rank_3.log").write_text("precious")
    run = tmp_path / "run"
    (run / link).parent.mkdir(parents=True)
    (run / link).symlink_to(elsewhere if link == "logs" else elsewhere / "rank_3.log")
    with pytest.raises(ConfigError, match=f"cannot write .*{link}: it is a link, which is not followed"):
        start_logs(3, run)
    assert (elsewhere / "rank_3.log").read_text() == "precious"


@pytest.mark.parametrize("umask", [0o077, 0o027, 0o022])
def test_files_follow_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "text", "")
        hold(tmp_path / "lock").release()
        with whole_or_not_at_all(tmp_path / "weights") as part:
            torch.save({}, part)
    finally:
        os.umask(before)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
