"""Image files: colours, sizes, and files that are no images."""

import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from PIL import EpsImagePlugin, Image

from fedsim.data.images.image_files import scaled
from fedsim.data.sources import sources
from fedsim.errors import ConfigError
from support.data_checks import cut_short, grown_memory, loading_error, pictures
from support.data_sets import (
    small_sets_may_warn,
    write_class_folders,
    write_eurosat,
)

pytestmark = [pytest.mark.usefixtures("cache"), small_sets_may_warn]


# Images ----------------------------------------------------------------------------------------------------------


BAD = {
    "a text": lambda content: b"these are no pixels\n" * 20,
    "cut": cut_short,
    "empty": lambda content: b"",
    "one byte": lambda content: content[:1],
    "a page": lambda content: b"<html><body>404</body></html>",
    "a GIF": lambda content: (
        b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff,"
        b"\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
    ),
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("name", ["image_folder", "eurosat"])
def test_an_image_that_is_none_is_named(what: str, name: str, tmp_path: Path, cache: Path) -> None:
    if name == "eurosat":
        path = write_eurosat(tmp_path, per_class=2) / "Forest" / "Forest_2.jpg"
    else:
        path = write_class_folders(tmp_path, per_class=4) / "dog" / "2.jpg"
    path.write_bytes(BAD[what](path.read_bytes()))
    error = loading_error(name, tmp_path)
    assert f"cannot read the image {path}: " in error.problem
    assert "remove" in error.remedy
    assert list(cache.iterdir()) == []


def test_postscript_is_not_handed_to_ghostscript(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ghostscript(*arguments: Any, **keywords: Any) -> Any:
        asked.append(arguments)
        return Image.new("RGB", (10, 10)).im

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", ghostscript)
    path = images / "cat" / "0.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) run\nshowpage\n%%EOF\n")
    assert str(path) in loading_error("image_folder", images).problem
    assert asked == []
    with Image.open(path) as image:
        image.convert("RGB")
    assert len(asked) == 1, "Pillow would not have run it anyway"


@pytest.mark.filterwarnings("ignore:.*left out that Pillow cannot read")
@pytest.mark.parametrize("suffix", ["svg", "eps", "pdf", "npy", "txt"])
def test_files_of_other_kinds_are_no_images(suffix: str, images: Path) -> None:
    before = len(sources.build("image_folder").load(images).train)
    (images / "cat" / f"0.{suffix}").write_bytes(b"%!PS")
    assert len(sources.build("image_folder").load(images).train) == before


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG that claims a size, whatever it holds."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


BOMBS = {
    "a PNG of 10 gigapixels": png(100_000, 100_000),
    "a PNG of 2 gigapixels in a row": png(2**31 - 1, 1),
    "a PPM of 10 gigapixels": b"P6 100000 100000 255\n",
    "a BMP of 4 gigapixels": b"BM" + struct.pack("<IHHI", 54, 0, 0, 54)
    + struct.pack("<IiiHHIIiiII", 40, 65535, 65535, 1, 24, 0, 0, 0, 0, 0, 0),
}  # fmt: skip


@pytest.mark.parametrize("what", BOMBS)
def test_a_tiny_file_of_huge_size_is_an_error_and_takes_no_memory(what: str, images: Path) -> None:
    path = images / "dog" / "1.png"
    path.write_bytes(BOMBS[what])
    assert len(BOMBS[what]) < 100

    def load() -> None:
        assert str(path) in loading_error("image_folder", images, short_side=None).problem

    assert grown_memory(load) < 100


def test_the_bombs_would_be_images_were_they_smaller(images: Path) -> None:
    (images / "dog" / "1.png").write_bytes(png(2, 1, b"\x00" + bytes(6)))
    samples = sources.build("image_folder", short_side=None, test_share=0.3).load(images)
    assert samples.input_shape == (3, 1, 2)


def test_images_of_16_bits_do_not_turn_white(images: Path) -> None:
    """Scaled or refused, but not clipped at 255 of 65535."""
    pixels = np.linspace(1000, 30_000, 40 * 60).astype(np.uint16).reshape(40, 60)
    for kind in ("cat", "dog"):
        for number in range(4):
            next(images.joinpath(kind).glob(f"{number}.*")).unlink()
            Image.fromarray(pixels).save(images / kind / f"{number}.png")
    try:
        splits = sources.build("image_folder", short_side=None).load(images)
    except ConfigError:
        return
    shown = splits.train.pick(splits.train.labels[:1])[0].float()
    assert float(shown.std()) > 10


# Folders of images -----------------------------------------------------------------------------------------------


def test_grayscale_transparent_palette_and_upper_case_images_become_rgb(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    gray = draws.integers(0, 256, (9, 7), dtype=np.uint8)
    rgba = draws.integers(0, 256, (9, 7, 4), dtype=np.uint8)
    rgb = rgba[:, :, :3]
    palette = Image.fromarray(rgb).quantize(16)
    colours = np.array(palette.getpalette(), dtype=np.uint8).reshape(-1, 3)
    wanted = {
        "1_gray.png": np.stack([gray] * 3, axis=2),
        "2_rgba.PNG": rgb,
        "3_palette.png": colours[np.asarray(palette)],
        "4_rgb.BMP": rgb,
        "5_rgb.tiff": rgb,
        "6_gray.pgm": np.stack([gray] * 3, axis=2),
        "7_rgb.ppm": rgb,
        "8_bilevel.png": np.stack([(gray > 127) * np.uint8(255)] * 3, axis=2),
    }
    images = [Image.fromarray(gray), Image.fromarray(rgba), palette, *[Image.fromarray(rgb)] * 2]
    images += [Image.fromarray(gray), Image.fromarray(rgb), Image.fromarray(gray > 127)]
    for kind in ("a", "b"):
        (tmp_path / "train" / kind).mkdir(parents=True)
        for name, image in zip(wanted, images, strict=True):
            image.save(tmp_path / "train" / kind / name)
    shutil.copytree(tmp_path / "train", tmp_path / "val")
    splits = sources.build("image_folder", short_side=None).load(tmp_path)
    for found, pixels in zip(pictures(splits.train), [*wanted.values()] * 2, strict=True):
        assert np.array_equal(found, pixels.transpose(2, 0, 1))
    assert splits.one_size


def test_the_shorter_side_is_scaled_as_torchvision_scales_it(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train")
    write_class_folders(tmp_path / "test")
    splits = sources.build("image_folder", short_side=24).load(tmp_path)
    theirs = torchvision.datasets.ImageFolder(str(tmp_path / "train"), torchvision.transforms.Resize(24))
    for ours, (image, _) in zip(pictures(splits.train), theirs, strict=True):
        assert min(ours.shape[1:]) == 24
        assert np.array_equal(ours.transpose(1, 2, 0), np.asarray(image))


SIZES = {"small": [(32, 32)] * 3, "large": [(300, 400)] * 3, "many": [(32, 40), (400, 300), (256, 900)]}


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("short_side", ["auto", None, 64, 256, 350])
def test_images_are_scaled_down_where_they_should_be_and_never_up(
    sizes: str, short_side: int | str | None, tmp_path: Path
) -> None:
    """Against Pillow, one image at a time."""
    draws = np.random.default_rng(3)
    for kind in ("a", "b"):
        (tmp_path / kind).mkdir()
        for number, (height, width) in enumerate(SIZES[sizes]):
            pixels = draws.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / kind / f"{number}.png")
    at_most = {"auto": 256 if sizes == "many" else None}.get(str(short_side), short_side)
    wanted = []
    for path in sorted(tmp_path.glob("*/*.png")):
        with Image.open(path) as image:
            factor = min(1.0, (int(at_most) if at_most else 1000) / min(image.size))
            size = (int(image.width * factor), int(image.height * factor))
            wanted.append(np.asarray(image.resize(size, Image.Resampling.BILINEAR)).transpose(2, 0, 1))
    splits = sources.build("image_folder", short_side=short_side, test_share=0.34).load(tmp_path)
    found = [*pictures(splits.train), *pictures(splits.test)]
    assert sorted((one.shape, one.tobytes()) for one in found) == sorted((one.shape, one.tobytes()) for one in wanted)
    assert splits.one_size == (sizes != "many")


def test_scaling_keeps_the_aspect_ratio() -> None:
    for height, width in ((450, 600), (600, 450), (1, 1000), (1024, 1024), (100, 101), (37, 1999)):
        for side in (8, 224, 256):
            new_height, new_width = scaled(height, width, side)
            assert min(new_height, new_width) == side
            longer = side * max(height, width) / min(height, width)
            assert longer - 1 <= max(new_height, new_width) <= longer + 1e-6
            assert (new_height <= new_width) == (height <= width) or new_height == new_width
    assert scaled(37, 1999, None) == (37, 1999)
