"""What will be cached is said before it is made, and refused where there is no room for it."""

import logging
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fedsim.data.images import image_files
from fedsim.data.images.resized import resized_splits
from fedsim.data.sources import sources
from fedsim.data.storage.cache import cache_folder, is_cached
from fedsim.data.storage.cache_room import future_folder, require_room
from fedsim.errors import ConfigError
from fedsim.main import main
from support.data_checks import refuse
from support.data_sets import small_sets_may_warn, write_class_folders, write_eurosat, write_flamby_isic

pytestmark = [pytest.mark.usefixtures("cache"), small_sets_may_warn]

WRITERS: dict[str, Callable[[Path], Path]] = {
    "image_folder": write_class_folders,
    "eurosat": write_eurosat,
    "fed_isic2019": write_flamby_isic,
}


class Disk(NamedTuple):
    """What ``shutil.disk_usage`` gives."""

    total: int
    used: int
    free: int


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many bytes are free."""
    return lambda count: monkeypatch.setattr(shutil, "disk_usage", lambda folder: Disk(10**12, 0, count))


def bytes_of_images(folder: Path) -> int:
    """Of all images as Pillow reads them in RGB."""
    total = 0
    for path in folder.rglob("*.*"):
        if path.suffix in (".jpg", ".png", ".bmp"):
            with Image.open(path) as image:
                total += 3 * image.width * image.height
    return total


@pytest.mark.parametrize("name", WRITERS)
def test_what_has_no_room_is_refused_before_anything_is_decoded(
    name: str, tmp_path: Path, cache: Path, free: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    WRITERS[name](tmp_path)
    source, size = sources.build(name), bytes_of_images(tmp_path)
    free(size - 1)
    with monkeypatch.context() as patch:
        patch.setattr(image_files, "read_rgb", refuse)
        for look in (source.survey, source.load, source.prepare):
            with pytest.raises(ConfigError) as caught:
                look(tmp_path)
            assert caught.value.key == "root"
            assert re.fullmatch(
                rf"\d+ images take .* when they are decoded, and .* are free in {cache}", caught.value.problem
            )
            assert "set FEDSIM_CACHE to a folder on a larger disk" in caught.value.remedy
            assert ("data.short_side" in caught.value.remedy) == (name == "image_folder")
            assert list(cache.iterdir()) == []
    free(size)
    source.survey(tmp_path)
    source.load(tmp_path)
    free(0)
    source.survey(tmp_path)  # what is there needs no room
    source.load(tmp_path)


def test_the_size_is_said_once_before_decoding(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_class_folders(tmp_path)
    said: list[list[str]] = []
    read_rgb = image_files.read_rgb

    def listening(file: Path, size: tuple[int, int] | None, repair: str) -> NDArray[np.uint8]:
        said.append(caplog.messages)
        return read_rgb(file, size, repair)

    monkeypatch.setattr(image_files, "read_rgb", listening)
    with caplog.at_level(logging.INFO, "fedsim"):
        for _ in range(2):
            sources.build("image_folder").load(tmp_path)
    assert all(messages == caplog.messages for messages in said)
    assert len(said) == 10
    (line,) = caplog.messages
    assert line.startswith("10 images take ")
    assert f" in the cache {cache}, where " in line


def test_a_check_says_the_size_or_refuses_it(
    tmp_path: Path, free: Callable[[int], None], capfd: pytest.CaptureFixture[str]
) -> None:
    command = [
        "data.name=image_folder",
        f"data.root={write_class_folders(tmp_path / 'set', per_class=40)}",
        "--check",
    ]
    assert main(command) == 0
    assert "fedsim: 80 images take " in capfd.readouterr().err
    free(5)
    assert main(command) == 2
    sentence = r"data\.root: 80 images take .*, and 5 bytes are free in .*; set data\.short_side to fewer pixels, or "
    assert re.search(sentence, capfd.readouterr().err)
    assert main([*command[:2], "output_dir=" + str(tmp_path / "runs"), "rounds=1"]) == 2
    assert "data.root: 80 images take " in capfd.readouterr().err


def test_images_that_are_made_squares_need_room_too(tmp_path: Path, free: Callable[[int], None]) -> None:
    splits = sources.build("image_folder").load(write_class_folders(tmp_path))
    free(3 * 16 * 16 * len(splits.train) - 1)
    with pytest.raises(ConfigError, match=r"^root: 8 images of 16 x 16 pixels take 6\.1 kB .* and 6\.1 kB are free"):
        resized_splits(splits, 16, "bilinear")


def test_free_room_is_that_of_the_disk_on_which_the_cache_will_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frees = {tmp_path: 9}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Disk(9, 0, frees[folder]))
    require_room(9, tmp_path / "not" / "yet", "things")
    with pytest.raises(ConfigError, match="things take 10 bytes"):
        require_room(10, tmp_path, "things")


def test_a_cache_that_cannot_be_made_will_be_a_temporary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("FEDSIM_CACHE", str(tmp_path / "new" / "cache"))
    assert future_folder() == cache_folder() == tmp_path / "new" / "cache"
    (tmp_path / "new").write_text("a file")
    assert future_folder() == tmp_path / "temporary"
    assert not is_cached("anything", ["x"])
