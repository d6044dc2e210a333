"""Data of strangers: whatever is in a file, nothing of it is executed and the message names the file."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import (
    EUROSAT,
    isic_rows,
    write_class_folders,
    write_eurosat,
    write_flamby_isic,
    write_raw_isic,
    write_rows,
)
from PIL import EpsImagePlugin, Image

from fedsim.data.sources import sources
from fedsim.data.sources.isic2019_tables import draw_split
from fedsim.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore:.*that were published")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FEDSIM_CACHE", str(folder))
    return folder


def loaded(name: str, root: Path, **settings: Any) -> ConfigError:
    """The ConfigError that loading ends with."""
    with pytest.raises(ConfigError) as raised:
        sources.build(name, **settings).load(root)
    assert raised.value.key == "root"
    assert raised.value.remedy
    return raised.value


def grown_memory(action: Callable[[], Any]) -> int:
    """MiB by which memory was larger at its peak in ``action`` than before."""

    def kilobytes(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1])

    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = kilobytes("VmRSS")
    action()
    return (kilobytes("VmHWM") - before) // 1024


# Images ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_class_folders(tmp_path / "images", per_class=4)


def cut(content: bytes) -> bytes:
    return content[: 2 * len(content) // 3]


BAD = {
    "a text": lambda content: b"these are no pixels\n" * 20,
    "cut": cut,
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
    error = loaded(name, tmp_path)
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
    assert str(path) in loaded("image_folder", images).problem
    assert asked == []
    with Image.open(path) as image:
        image.convert("RGB")
    assert len(asked) == 1, "Pillow would not have run it anyway"


@pytest.mark.parametrize("suffix", ["gif", "svg", "eps", "pdf", "ico", "npy", "txt"])
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
        assert str(path) in loaded("image_folder", images, short_side=None).problem

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


def test_hidden_and_foreign_files_are_not_taken_for_images(tmp_path: Path) -> None:
    folder = write_eurosat(tmp_path, per_class=3)
    before = sources.build("eurosat").load(tmp_path)
    for place in (folder, folder / "Forest"):
        for name in (".DS_Store", "._Forest_1.jpg", ".hidden.png", "Thumbs.db", "README.txt"):
            (place / name).write_bytes(b"no image")
    (folder / ".ipynb_checkpoints").mkdir()
    after = sources.build("eurosat").load(tmp_path)
    assert len(after.train) == len(before.train) == 20
    assert after.class_names == before.class_names


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", ".thumbnails", ".Trash-1000/files"])
def test_images_in_hidden_folders_are_hidden(hidden: str, images: Path) -> None:
    write_class_folders(images / "cat" / hidden, ("x",), per_class=2, seed=500)
    splits = sources.build("image_folder").load(images)
    assert len(splits.train) + len(splits.test) == 8


def test_eurosat_names_what_is_missing_empty_or_too_much(tmp_path: Path) -> None:
    folder = write_eurosat(tmp_path, per_class=2)
    (folder / "River").rename(tmp_path / "River")
    error = loaded("eurosat", tmp_path)
    assert f"there is no folder {folder / 'River'}" in error.problem
    assert "fedsim.prepare eurosat" in error.remedy
    with pytest.raises(ConfigError, match="River"):
        sources.build("eurosat").check(tmp_path)
    (folder / "River").mkdir()
    (folder / "River" / ".DS_Store").write_bytes(b"x")
    assert f"{folder / 'River'} holds no image" in loaded("eurosat", tmp_path).problem
    (folder / "River").joinpath(".DS_Store").unlink()
    (folder / "River").rmdir()
    (tmp_path / "River").rename(folder / "River")
    write_class_folders(folder, ("Desert", "Tundra"), per_class=1)
    error = loaded("eurosat", tmp_path)
    assert f"{folder} holds other folders too: Desert, Tundra" in error.problem
    assert error.remedy == "move them"


def test_a_eurosat_without_its_first_class_is_named(tmp_path: Path) -> None:
    folder = write_eurosat(tmp_path, per_class=1)
    (folder / EUROSAT[0]).rename(tmp_path / "gone")
    assert f"there is no folder {folder / EUROSAT[0]}" in loaded("eurosat", tmp_path).problem


def test_image_folders_without_classes_are_named(tmp_path: Path) -> None:
    assert f"{tmp_path} does not hold a folder for each class" in loaded("image_folder", tmp_path).problem
    write_class_folders(tmp_path, ("only",))
    assert f"put images into {tmp_path}/train/<class>/" in loaded("image_folder", tmp_path).remedy
    (tmp_path / "void").mkdir()
    assert f"{tmp_path / 'void'} holds no image" in loaded("image_folder", tmp_path).problem
    for missing in (tmp_path / "none", tmp_path / "only" / "0.jpg"):
        assert f"there is no folder {missing}" in loaded("image_folder", missing).problem


def test_a_link_to_nowhere_is_named(images: Path) -> None:
    (images / "cat" / "link.jpg").symlink_to(images / "gone.jpg")
    error = loaded("image_folder", images)
    assert f"cannot read {images / 'cat' / 'link.jpg'}: No such file or directory" in error.problem
    assert error.remedy == "replace or remove it"


@pytest.mark.parametrize("which", [".", "cat", "cat/inner"])
def test_a_folder_that_may_not_be_read_is_named(which: str, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its images would be missing silently otherwise."""
    write_class_folders(images / "cat", ("inner",), per_class=2, seed=900)
    closed = os.path.normpath(images / which)
    scandir, listdir = os.scandir, os.listdir

    def denied(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any = ".") -> Any:
            if not isinstance(path, int) and os.path.normpath(path) == closed:
                raise PermissionError(13, "Permission denied", str(path))
            return function(path)

        return call

    monkeypatch.setattr(os, "scandir", denied(scandir))
    monkeypatch.setattr(os, "listdir", denied(listdir))
    error = loaded("image_folder", images)
    assert closed in error.problem
    assert "Permission denied" in error.problem


def test_names_of_any_bytes_are_read(images: Path) -> None:
    os.rename(images / "cat", os.fsencode(images) + b"/c\xff t\n")
    splits = sources.build("image_folder").load(images)
    assert len(splits.train) + len(splits.test) == 8


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no column 'file_name'"),
        (b"name,site\na,b\n", "has no column 'file_name'"),
        (b"file_name,site\n", "has no rows"),
        (b"file_name,site\ncat/0.jpg,a\ncat/1.png\n", "line 3: not as many values as columns"),
        (b"file_name,site\ncat/0.jpg,a,b\n", "line 2: not as many values as columns"),
        (b"\xff\xfe\x00\x01binary", "cannot read"),
        (b'file_name,site\ncat/0.jpg,"a\n', "cannot read"),
        (b"file_name,site\n" + b"a" * 200_000 + b",b\n", "cannot read"),
    ],
)
def test_a_damaged_table_of_an_image_folder_is_named(content: bytes, said: str, images: Path) -> None:
    (images / "metadata.csv").write_bytes(content)
    error = loaded("image_folder", images)
    assert str(images / "metadata.csv") in error.problem
    assert said in error.problem
    assert error.remedy == "mend or remove it"


# Fed-ISIC2019 ----------------------------------------------------------------------------------------------------


@pytest.fixture
def isic(tmp_path: Path) -> Path:
    write_flamby_isic(tmp_path, count=24)
    return tmp_path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": "../x"}, "line 7: '../x' is no name of an image"),
        ({"image": "/etc/passwd"}, "line 7: '/etc/passwd' is no name of an image"),
        ({"image": "a\x00b"}, "is no name of an image"),
        ({"image": ""}, "line 7: '' is no name of an image"),
        ({"image": "ISIC_é"}, "line 7: 'ISIC_é' is no name of an image"),
        ({"image": "ISIC_0000000"}, "line 7: image ISIC_0000000 is there twice"),
        ({"target": "8"}, "line 7: target '8' is no class from 0 to 7"),
        ({"target": "-1"}, "line 7: target '-1' is no class from 0 to 7"),
        ({"target": "1.5"}, "line 7: target '1.5' is no class from 0 to 7"),
        ({"target": "٣"}, "line 7: target '٣' is no class from 0 to 7"),
        ({"target": ""}, "line 7: target '' is no class from 0 to 7"),
        ({"center": ""}, "line 7: no center"),
        ({"fold": "validation"}, "line 7: fold 'validation' is neither train nor test"),
        ({"fold": ""}, "line 7: fold '' is neither train nor test"),
    ],
)
def test_a_faulty_row_of_the_split_is_named(change: dict[str, str], said: str, isic: Path) -> None:
    rows = isic_rows(24)
    rows[5] |= change
    write_rows(isic / "train_test_split", rows)
    error = loaded("fed_isic2019", isic)
    assert f"{isic / 'train_test_split'}, line 7" in error.problem
    assert said in error.problem
    assert "https://github.com/owkin/FLamby" in error.remedy


def test_a_line_is_named_by_its_number_in_the_file(isic: Path) -> None:
    rows = isic_rows(24)
    rows[5]["target"] = "9"
    write_rows(isic / "train_test_split", rows)
    lines = (isic / "train_test_split").read_text().splitlines()
    (isic / "train_test_split").write_text("\n".join([*lines[:3], "", "", *lines[3:]]) + "\n")
    assert "line 9: target '9'" in loaded("fed_isic2019", isic).problem


@pytest.mark.parametrize("column", ["image", "target", "center", "fold"])
def test_a_missing_column_of_the_split_is_named(column: str, isic: Path) -> None:
    rows = isic_rows(24)
    write_rows(isic / "train_test_split", [{k: v for k, v in row.items() if k != column} for row in rows])
    assert f"{isic / 'train_test_split'} has no column '{column}'" in loaded("fed_isic2019", isic).problem


@pytest.mark.parametrize("fold", ["train", "test"])
def test_a_split_of_one_fold_is_refused(fold: str, isic: Path) -> None:
    write_rows(isic / "train_test_split", [row | {"fold": fold} for row in isic_rows(24)])
    assert "has no row whose fold is" in loaded("fed_isic2019", isic).problem


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has no column 'image'"),
        (b"\x00" * 100, "has no column 'image'"),
        (bytes(range(256)), "cannot read"),
        (b"\x89PNG\r\n\x1a\n", "cannot read"),
        (b"image,target,center,fold\n", "has no rows"),
        (b"image,target,center,fold\na,1,1,train\nb,1,1\n", "line 3: not as many values as columns"),
        (b"image,target,center,fold\na,1,1,train,\n", "line 2: not as many values as columns"),
        (b'image,target,center,fold\na,1,1,"train\n', "cannot read"),
        (b"image,target,center,fold\na\x00,1,1,train\n", ""),
    ],
)
def test_a_file_that_is_no_split_is_named(content: bytes, said: str, isic: Path) -> None:
    (isic / "train_test_split").write_bytes(content)
    error = loaded("fed_isic2019", isic)
    assert str(isic / "train_test_split") in error.problem
    assert said in error.problem
    assert "FLamby" in error.remedy


def test_missing_files_of_fed_isic2019_are_named(isic: Path) -> None:
    path = isic / "ISIC_2019_Training_Input_preprocessed" / "ISIC_0000003.jpg"
    content = path.read_bytes()
    path.unlink()
    error = loaded("fed_isic2019", isic)
    assert f"cannot read {path}: No such file" in error.problem
    assert "fedsim.prepare fed_isic2019" in error.remedy
    path.write_bytes(cut(content))
    assert f"cannot read the image {path}" in loaded("fed_isic2019", isic).problem
    path.write_bytes(content)
    path.parent.rename(isic / "elsewhere")
    assert f"there is no folder {path.parent}" in loaded("fed_isic2019", isic).problem
    (isic / "train_test_split").unlink()
    error = loaded("fed_isic2019", isic)
    assert "there is no file" in error.problem
    assert "own_fold: true" in error.remedy
    assert "own_fold=true` draws it" in loaded("fed_isic2019", isic, own_fold=True).remedy


TRUTH, METADATA = "ISIC_2019_Training_GroundTruth.csv", "ISIC_2019_Training_Metadata.csv"
HAM = "HAM10000_metadata"


def change_cell(path: Path, row: int, **values: str) -> None:
    """Replace cells of a CSV file; rows are counted from 0."""
    header, *lines = [line.split(",") for line in path.read_text().splitlines()]
    for name, value in values.items():
        lines[row][header.index(name)] = value
    path.write_text("\n".join(map(",".join, [header, *lines])) + "\n")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    write_raw_isic(tmp_path, count=24)
    return tmp_path


def drawn(root: Path) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        draw_split(root)
    assert raised.value.remedy
    return raised.value


@pytest.mark.parametrize("table", [TRUTH, METADATA, HAM])
def test_missing_and_damaged_raw_tables_are_named(table: str, raw: Path) -> None:
    for content in (b"", b"\x00\xff\xfe binary", b"a,b\n1,2\n"):
        (raw / table).write_bytes(content)
        assert str(raw / table) in drawn(raw).problem
    (raw / table).unlink()
    assert f"cannot read {raw / table}: " in drawn(raw).problem
    wanted = "HAM10000_metadata" if table == HAM else "https://challenge.isic-archive.com"
    assert wanted in drawn(raw).remedy


def test_an_image_of_two_classes_or_none_is_named(raw: Path) -> None:
    change_cell(raw / TRUTH, 3, MEL="1.0", AK="1.0")
    assert f"{raw / TRUTH} gives ISIC_0000003 2 classes" in drawn(raw).problem
    change_cell(raw / TRUTH, 3, MEL="0.0", AK="0.0")
    assert f"{raw / TRUTH} gives ISIC_0000003 0 classes" in drawn(raw).problem
    change_cell(raw / TRUTH, 3, AK="nan")
    assert "0 classes" in drawn(raw).problem


def test_unknown_centres_are_named(raw: Path) -> None:
    change_cell(raw / METADATA, 3, lesion_id="XYZ_0000003")
    error = drawn(raw)
    assert "does not tell the centre of ISIC_0000003 ('XYZ_0000003')" in error.problem
    change_cell(raw / METADATA, 3, lesion_id="HAM_0000003")
    draw_split(raw)
    path = raw / HAM
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "ISIC_0000003" not in line))
    assert "does not tell the centre of ISIC_0000003 ('HAM_0000003')" in drawn(raw).problem
    assert str(raw / HAM) in drawn(raw).problem


def test_an_image_without_a_class_is_named(raw: Path) -> None:
    path = raw / TRUTH
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "ISIC_0000005" not in line))
    assert f"{path} has no row for ISIC_0000005" in drawn(raw).problem


def test_tables_without_lesions_are_named(raw: Path) -> None:
    for row in range(24):
        change_cell(raw / METADATA, row, lesion_id="")
    assert f"{raw / METADATA} names no lesion" in drawn(raw).problem


def test_a_missing_raw_image_is_named_and_the_next_call_goes_on(raw: Path) -> None:
    path = raw / "ISIC_2019_Training_Input" / "ISIC_0000009.jpg"
    content = path.read_bytes()
    source = sources.build("fed_isic2019", own_fold=True)
    for harm in (lambda: path.write_bytes(cut(content)), path.unlink):
        harm()
        with pytest.raises(ConfigError, match=f"cannot read the image {path}") as raised:
            source.prepare(raw)
        assert "https://challenge.isic-archive.com" in raised.value.remedy
    path.write_bytes(content)
    source.prepare(raw)
    assert len(source.load(raw).train) + len(source.load(raw).test) == 22


def test_missing_raw_folder_is_named(raw: Path) -> None:
    (raw / "ISIC_2019_Training_Input").rename(raw / "elsewhere")
    with pytest.raises(ConfigError, match=r"nor the raw images in .*ISIC_2019_Training_Input; unpack"):
        sources.build("fed_isic2019", own_fold=True).prepare(raw)


@pytest.mark.parametrize("name", ["../ISIC_0000003", "ISIC_0000002"], ids=["a path", "one that is there twice"])
def test_a_bad_name_in_the_raw_tables_can_be_mended(name: str, raw: Path) -> None:
    """The split that was drawn from bad tables must not stay."""
    whole = {table: (raw / table).read_bytes() for table in (TRUTH, METADATA, HAM)}
    for table, column in ((TRUTH, "image"), (METADATA, "image")):
        change_cell(raw / table, 3, **{column: name})
    change_cell(raw / METADATA, 3, lesion_id="BCN_0000003")
    if name == "ISIC_0000002":
        change_cell(raw / METADATA, 3, lesion_id="HAM_0000003")
    source = sources.build("fed_isic2019", own_fold=True)
    with pytest.raises(ConfigError):
        source.prepare(raw)
    assert sorted(path.name for path in raw.parent.iterdir() if path.suffix == ".jpg") == []
    for table, content in whole.items():
        (raw / table).write_bytes(content)
    source.prepare(raw)
    assert len(source.load(raw).train) + len(source.load(raw).test) == 22


def test_a_damaged_split_of_ours_is_not_to_be_copied_from_flamby(raw: Path) -> None:
    source = sources.build("fed_isic2019", own_fold=True)
    source.prepare(raw)
    change_cell(raw / "fedsim_split.csv", 3, target="9")
    error = loaded("fed_isic2019", raw, own_fold=True)
    assert f"{raw / 'fedsim_split.csv'}, line 5: target '9'" in error.problem
    assert "FLamby" not in error.remedy
    assert "fedsim_split.csv" in error.remedy or "own_fold=true" in error.remedy
