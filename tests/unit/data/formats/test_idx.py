"""IDX files: what is read, and how damaged ones are named."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torchvision

from fedsim.data.formats.idx import image_blocks, images_shape, read_labels
from fedsim.errors import ConfigError
from support.published_images import idx, random_images


@pytest.mark.parametrize("compressed", [False, True])
def test_images_are_those_that_torchvision_reads(
    compressed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In blocks of any size, and whatever the file is called."""
    images, path = random_images(11, 5, 7), tmp_path / "images"
    path.write_bytes(idx(images))
    assert np.array_equal(torchvision.datasets.mnist.read_image_file(str(path)).numpy(), images)
    if compressed:
        path.write_bytes(gzip.compress(idx(images)))
    assert images_shape(path, "") == (11, 5, 7)
    for at_once in (1, 4, 11, 100):
        monkeypatch.setattr("fedsim.data.formats.idx.AT_ONCE", at_once)
        blocks = list(image_blocks(path, ""))
        assert max(map(len, blocks)) <= at_once
        assert np.array_equal(np.concatenate(blocks), images)


@pytest.mark.parametrize("compressed", [False, True])
def test_labels_are_those_that_torchvision_reads(compressed: bool, tmp_path: Path) -> None:
    labels, path = np.arange(20, dtype=np.uint8), tmp_path / "labels"
    path.write_bytes(idx(labels))
    theirs = torchvision.datasets.mnist.read_label_file(str(path))
    path.write_bytes(gzip.compress(idx(labels)) if compressed else idx(labels))
    assert read_labels(path, "").tolist() == theirs.tolist() == list(range(20))


WHOLE = idx(random_images(9, 4, 4))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it begins with nothing, not with 00 00 08 03"),
        (b"\x00\x00\x0d\x03" + WHOLE[4:], "it begins with 00 00 0d 03"),
        (idx(np.zeros(9, dtype=np.uint8)), "it begins with 00 00 08 01"),
        (b"<!DOCTYPE html>", "it begins with 3c 21 44 4f"),
        (WHOLE[:11], "cut off in its header"),
        (WHOLE[:-1], "cut off after 8 of 9 images"),
        (WHOLE[: 16 + 16 * 4], "cut off after 4 of 9 images"),
        (WHOLE + b"\x00", "goes on after its 9 images"),
        (struct.pack(">BBBB3I", 0, 0, 8, 3, 2**32 - 1, 28, 28), "cut off after 0 of 4294967295 images"),
        (gzip.compress(WHOLE, mtime=0)[:-20], "ended before the end-of-stream marker"),
        (gzip.compress(WHOLE, mtime=0)[:-8] + b"\xff" * 8, "CRC check failed"),
        (gzip.compress(WHOLE[:-1], mtime=0), "cut off after 8 of 9 images"),
        (gzip.compress(WHOLE, mtime=0)[:10] + b"\xff" * 50, "decompressing"),
    ],
)
def test_a_damaged_file_is_named(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not usable") as raised:
        list(image_blocks(path, "fetch it again"))
    assert str(path) in raised.value.problem
    assert says in raised.value.problem
    assert raised.value.remedy == "fetch it again"


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"x"])
def test_labels_that_are_too_few_or_too_many_are_named(change: object, tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.write_bytes(change(idx(np.arange(20, dtype=np.uint8))))  # type: ignore[operator]
    with pytest.raises(ConfigError, match=r"cut off after 19 of 20 labels|goes on after its 20 labels"):
        read_labels(path, "")


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(ConfigError, match=str(path)):
            read_labels(path, "")
