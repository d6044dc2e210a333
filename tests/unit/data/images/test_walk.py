"""Walking folders of images: the system's folders, suffixes of all kinds, images of no class."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from fedsim.data.images.image_formats import decoders_for, format_of_suffix
from fedsim.data.sources import sources
from fedsim.errors import FedsimWarning
from support.data_checks import loading_error, pictures
from support.data_sets import small_sets_may_warn, write_class_folders, write_eurosat, write_image

pytestmark = [pytest.mark.usefixtures("cache"), small_sets_may_warn]

SYSTEM = ["@eaDir", "__MACOSX", "lost+found", "$RECYCLE.BIN", "System Volume Information", "#recycle", ".AppleDouble"]


@pytest.mark.parametrize("name", SYSTEM)
@pytest.mark.parametrize("layout", ["sides", "bare", "eurosat"])
def test_a_system_folder_is_neither_a_class_nor_holds_images(name: str, layout: str, tmp_path: Path) -> None:
    source = sources.build("eurosat" if layout == "eurosat" else "image_folder")
    if layout == "eurosat":
        tops = [write_eurosat(tmp_path, per_class=2)]
    elif layout == "bare":
        tops = [write_class_folders(tmp_path)]
    else:
        tops = [write_class_folders(tmp_path / side) for side in ("train", "val")]
    before = source.load(tmp_path)
    for top in tops:
        inner = next(path for path in top.iterdir() if path.is_dir())
        for place in (top / name, inner / name, inner / name.upper() / "deeper"):
            write_image(place / "thumb.jpg", 20, 20, seed=1)
    after = source.load(tmp_path)
    assert after.class_names == before.class_names
    assert (len(after.train), len(after.test)) == (len(before.train), len(before.test))


def test_what_systems_leave_beside_images_is_no_image_and_no_news(images: Path) -> None:
    for name in ("._1.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "Icon\r", "README", "labels.json", "notes.TXT"):
        (images / "cat" / name).write_bytes(b"x")
    splits = sources.build("image_folder").load(images)  # a warning would be an error
    assert len(splits.train) + len(splits.test) == 8


@pytest.mark.parametrize(
    ("suffix", "form"),
    [
        (".JFIF", "JPEG"),
        (".jpe", "JPEG"),
        (".Gif", "GIF"),
        (".dib", "BMP"),
        (".pbm", "PPM"),
        (".tga", "TGA"),
        (".jp2", "JPEG2000"),
        (".mpo", "MPO"),
        (".ico", "ICO"),
        pytest.param(".avif", "AVIF", marks=pytest.mark.skipif(not features.check("avif"), reason="Pillow without")),
    ],
)
def test_what_pillow_reads_is_read(suffix: str, form: str, tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path, per_class=2)
    gray = Image.fromarray(np.full((24, 24), 255, dtype=np.uint8))
    gray.convert("1" if suffix == ".pbm" else "RGB").save(folder / "dog" / f"0{suffix}", format=form)
    splits = sources.build("image_folder", short_side=None, test_share=0.01).load(tmp_path)
    (found,) = (image for image in pictures(splits.train) + pictures(splits.test) if image.shape == (3, 24, 24))
    assert found.min() > 190


def test_a_name_lets_no_decoder_near_that_starts_programs() -> None:
    readable = format_of_suffix()
    assert not {".eps", ".ps", ".pdf", ".mpg", ".mpeg", ".h5", ".wmf"} & set(readable)
    assert set(decoders_for(Path("x.jpg"))) == {"JPEG", "PNG", "BMP", "TIFF", "WEBP", "PPM"}
    assert set(decoders_for(Path("x.GIF"))) - set(decoders_for(Path("x.jpg"))) == {"GIF"}


def test_suffixes_that_pillow_learns_later_are_read(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pillow_heif teaches it."""
    Image.init()
    monkeypatch.setitem(Image.EXTENSION, ".new", "PNG")
    (images / "cat" / "9.new").write_bytes((images / "cat" / "1.png").read_bytes())
    splits = sources.build("image_folder").load(images)
    assert len(splits.train) + len(splits.test) == 9


def test_files_that_cannot_be_read_are_counted_in_one_warning(tmp_path: Path) -> None:
    for side in ("train", "test"):
        write_class_folders(tmp_path / side)
        for number in range(3):
            (tmp_path / side / "cat" / f"{number}.JXL").write_bytes(b"x")
        (tmp_path / side / "dog" / "scan.nii.gz").write_bytes(b"x")
    (tmp_path / "train" / "dog" / "0001").write_bytes(b"x")
    with pytest.warns(FedsimWarning) as caught:
        sources.build("image_folder").load(tmp_path)
    (text,) = {str(warning.message) for warning in caught}
    assert f"{tmp_path}: 9 files left out that Pillow cannot read: 6 .jxl, 2 .nii.gz, 1 without a suffix" in text


def test_a_class_of_files_that_cannot_be_read_says_which(tmp_path: Path) -> None:
    write_class_folders(tmp_path, ("cat",))
    (tmp_path / "dog").mkdir()
    for number in range(2):
        (tmp_path / "dog" / f"{number}.dcm").write_bytes(b"x")
    assert (
        f"{tmp_path / 'dog'} holds no image that can be read (2 .dcm)"
        in loading_error("image_folder", tmp_path).problem
    )


def test_images_of_no_class_are_pointed_out(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "train")
    write_class_folders(tmp_path / "test")
    for number in range(2):
        write_image(tmp_path / "train" / f"{number}.png", 30, 30, seed=number)
    with pytest.warns(FedsimWarning, match="2 images left out, for no class's folder holds them"):
        splits = sources.build("image_folder").load(tmp_path)
    assert len(splits.train) == 10


@pytest.mark.parametrize("names", [("Train", "Test"), ("training", "testing")])
def test_sides_under_other_names_are_no_classes(names: tuple[str, str], tmp_path: Path) -> None:
    for name in names:
        write_class_folders(tmp_path / name)
    error = loading_error("image_folder", tmp_path)
    assert "are no classes" in error.problem
    assert error.remedy == "call them train and test"


def test_valid_and_invalid_are_classes(tmp_path: Path) -> None:
    write_class_folders(tmp_path, ("valid", "invalid"))
    assert sources.build("image_folder").load(tmp_path).class_names == ("invalid", "valid")


def test_linked_folders_are_walked_once_and_never_in_circles(images: Path, tmp_path: Path) -> None:
    write_class_folders(tmp_path / "elsewhere", ("more",), per_class=3)
    (images / "cat" / "more").symlink_to(tmp_path / "elsewhere" / "more")
    (images / "cat" / "again").symlink_to(tmp_path / "elsewhere" / "more")
    (tmp_path / "elsewhere" / "more" / "back").symlink_to(images / "cat")
    splits = sources.build("image_folder").load(images)
    assert len(splits.train) + len(splits.test) == 11
