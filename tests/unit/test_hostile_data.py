"""Damaged and hostile data: a clear word, and nothing in them is executed."""

import os
import pickle
import pickletools
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sets import (
    python2_pickle,
    write_cifar10,
    write_class_folders,
    write_eurosat,
    write_flamby_isic,
    write_raw_isic,
)

from fedsim.data import sources
from fedsim.data.isic2019_tables import draw_split
from fedsim.data.python2_pickle import RefusedPickleError, read_dictionary
from fedsim.errors import ConfigError, FedsimWarning

pytestmark = pytest.mark.filterwarnings("ignore::fedsim.errors.FedsimWarning")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSIM_CACHE", str(tmp_path / "cache"))


# Pickles that would run something ------------------------------------------------------------------------------


def call(module: str, function: str, text: str, opcode: str = "reduce") -> bytes:
    """A pickle that calls a function with a text, in each of the ways that pickles know."""
    name, argument = f"{module}\n{function}\n".encode(), b"X" + struct.pack("<i", len(text)) + text.encode()
    pair = (f"V{module}\n".encode(), f"V{function}\n".encode())
    return {
        "reduce": b"c" + name + argument + b"\x85R.",
        "inst": b"(" + argument + b"i" + name + b".",
        "obj": b"(c" + name + argument + b"o.",
        "newobj": b"\x80\x02c" + name + argument + b"\x85\x81.",
        "stack_global": b"\x80\x04" + pair[0] + pair[1] + b"\x93" + argument + b"\x85R.",
    }[opcode]


@pytest.mark.parametrize("opcode", ["reduce", "inst", "obj", "newobj", "stack_global"])
@pytest.mark.parametrize(
    ("module", "function"), [("os", "mkdir"), ("posix", "mkdir"), ("builtins", "eval"), ("numpy", "load")]
)
def test_no_way_of_calling_is_open(tmp_path: Path, module: str, function: str, opcode: str) -> None:
    marker = tmp_path / "executed"
    text = f"__import__('os').mkdir({str(marker)!r})" if function == "eval" else str(marker)
    attack = call(module, function, text, opcode)
    pickletools.dis(attack, out=open(os.devnull, "w"))  # noqa: SIM115 - a pickle at all
    path = tmp_path / "batch"
    path.write_bytes(attack)
    with pytest.raises(RefusedPickleError, match="no data file needs"):
        read_dictionary(path)
    assert not marker.exists()


@pytest.mark.parametrize("function", ["mkdir", "eval"])
def test_the_usual_reader_would_have_executed_it(tmp_path: Path, function: str) -> None:
    """So that the test above can fail."""
    marker = tmp_path / "executed"
    text = f"__import__('os').mkdir({str(marker)!r})" if function == "eval" else str(marker)
    pickle.loads(call("builtins" if function == "eval" else "os", function, text))  # noqa: S301
    assert marker.exists()


def test_a_hostile_batch_executes_nothing_in_a_run_and_is_named(tmp_path: Path) -> None:
    folder, marker = write_cifar10(tmp_path), tmp_path / "executed"
    (folder / "data_batch_4").write_bytes(call("os", "mkdir", str(marker)))
    with pytest.raises(ConfigError, match=r"data_batch_4 is not usable: it asks for os\.mkdir"):
        sources.build("cifar10").load(tmp_path)
    assert not marker.exists()
    assert not [path for path in (tmp_path / "cache").glob("*") if path.name.startswith("cifar")]


def test_the_names_that_are_allowed_give_no_hold(tmp_path: Path) -> None:
    """BUILD may set attributes of whatever has no __setstate__: neither class nor function of ours is such."""
    path = tmp_path / "batch"
    for module, name in (("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")):
        path.write_bytes(f"c{module}\n{name}\n}}(U\x05arrayU\x01xub.".encode("latin1"))
        with pytest.raises(RefusedPickleError):
            read_dictionary(path)
    path.write_bytes(python2_pickle({"data": np.zeros((1, 3), dtype=np.uint8)}))
    assert read_dictionary(path)["data"].tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"r" + struct.pack("<I", 2**32 - 1), id="memo index"),
        pytest.param(b"T" + struct.pack("<i", 2**31 - 1), id="length"),
        pytest.param(b"\x8b" + struct.pack("<i", -5), id="negative length"),
        pytest.param(b"Pmine\n.", id="persistent id"),
        pytest.param(b"\x82\x01.", id="extension"),
        pytest.param(b"(" * 200_000 + b"t" * 200_000 + b".", id="deep"),
        pytest.param(b"", id="empty"),
        pytest.param(b"PK\x03\x04 something else", id="zip"),
        pytest.param(python2_pickle([1, 2]), id="a list"),
    ],
)
def test_whatever_is_no_dictionary_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "batch"
    path.write_bytes(content)
    with pytest.raises(RefusedPickleError):
        read_dictionary(path)


def test_a_batch_cut_off_anywhere_or_with_any_bit_flipped_raises_nothing_else(tmp_path: Path) -> None:
    whole = python2_pickle(
        {"data": np.arange(30, dtype=np.uint8).reshape(2, 15), "labels": [1, 2], "batch_label": "x"}
    )
    path = tmp_path / "batch"
    refused = 0
    flipped = (whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :] for at in range(len(whole)))
    for content in (*(whole[:at] for at in range(len(whole))), *flipped):
        path.write_bytes(content)
        try:
            read_dictionary(path)
        except RefusedPickleError:
            refused += 1
    assert refused >= len(whole)  # every cut one, and some of the others


IMAGES = np.zeros((20, 3072), dtype=np.uint8)
LABELS = [index % 10 for index in range(20)]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({"data": IMAGES[:, :3000], "labels": LABELS}, id="smaller images"),
        pytest.param({"data": IMAGES.astype(np.int32), "labels": LABELS}, id="other numbers"),
        pytest.param({"data": IMAGES.reshape(20, 3, 32, 32), "labels": LABELS}, id="other shape"),
        pytest.param({"data": [1, 2], "labels": LABELS}, id="no array"),
        pytest.param({"data": IMAGES, "labels": [*LABELS[:-1], 10]}, id="label too large"),
        pytest.param({"data": IMAGES, "labels": [*LABELS[:-1], -1]}, id="negative label"),
        pytest.param({"data": IMAGES, "labels": [*LABELS[:-1], True]}, id="bool"),
        pytest.param({"data": IMAGES, "labels": LABELS[:-1]}, id="too few labels"),
        pytest.param({"data": IMAGES}, id="no labels"),
        pytest.param({"labels": LABELS}, id="no images"),
    ],
)
def test_a_batch_of_something_else_is_named(tmp_path: Path, content: dict[str, Any]) -> None:
    folder = write_cifar10(tmp_path)
    (folder / "test_batch").write_bytes(python2_pickle(content))
    with pytest.raises(ConfigError, match="test_batch is not usable"):
        sources.build("cifar10").load(tmp_path)


# Images --------------------------------------------------------------------------------------------------------


def bomb() -> bytes:
    """A PNG of a few hundred bytes that claims 60 000 x 60 000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 999)) + chunk(b"IEND", b"")
    )


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n(%pipe%touch executed) (w) file\nshowpage\n"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda whole: b"not an image", id="text"),
        pytest.param(lambda whole: b"", id="empty"),
        pytest.param(lambda whole: whole[: len(whole) // 2], id="cut off"),
        pytest.param(lambda whole: bomb(), id="bomb"),
        pytest.param(lambda whole: POSTSCRIPT, id="PostScript"),
    ],
)
@pytest.mark.parametrize("name", ["eurosat", "image_folder"])
def test_a_file_that_is_no_image_is_named(tmp_path: Path, name: str, content: Callable[[bytes], bytes]) -> None:
    folder = write_eurosat(tmp_path, per_class=3)
    bad = folder / "Forest" / "Forest_2.jpg"
    bad.write_bytes(content(bad.read_bytes()))
    root = tmp_path if name == "eurosat" else folder
    with pytest.raises(ConfigError, match=r"cannot read the image .*Forest_2\.jpg"):
        sources.build(name).load(root)
    assert not list((tmp_path / "cache").glob("[!.]*"))


def test_what_systems_leave_in_folders_is_no_image(tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "data")
    for name in (".DS_Store", "Thumbs.db", "._0.jpg", "notes.txt"):
        (tmp_path / "data" / "cat" / name).write_bytes(b"x")
    (folder / ".git").mkdir()
    splits = sources.build("image_folder").load(folder)
    assert len(splits.train) + len(splits.test) == 10
    assert splits.class_names == ("cat", "dog")


@pytest.mark.parametrize("what", ["missing", "empty", "extra"])
def test_eurosat_has_its_ten_classes(tmp_path: Path, what: str) -> None:
    folder = write_eurosat(tmp_path, per_class=2)
    if what == "extra":
        write_class_folders(folder, classes=("Desert",), per_class=1)
    else:
        for file in (folder / "River").iterdir():
            file.unlink()
        if what == "missing":
            (folder / "River").rmdir()
    with pytest.raises(ConfigError, match="Desert" if what == "extra" else "River"):
        sources.build("eurosat").load(tmp_path)


def test_a_half_unpacked_eurosat_is_told(tmp_path: Path) -> None:
    write_eurosat(tmp_path, per_class=2)
    with pytest.warns(FedsimWarning, match="20 images, not the 27000"):
        sources.build("eurosat").load(tmp_path)


# Tables --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (
            lambda text: text.replace("ISIC_0000001,", "../../etc/passwd,"),
            "line 3: '.*passwd' is no name",
        ),
        (lambda text: text.replace("ISIC_0000001,", "ISIC_0000000,"), "line 3: image ISIC_0000000 is there twice"),
        (lambda text: text.replace(",1,1,train,", ",8,1,train,", 1), "line 3: target '8' is no class"),
        (lambda text: text.replace(",1,1,train,", ",1.5,1,train,", 1), r"line 3: target '1\.5'"),
        (lambda text: text.replace(",1,1,train,", ",1,,train,", 1), "line 3: no center"),
        (lambda text: text.replace(",1,1,train,", ",1,1,valid,", 1), "line 3: fold 'valid'"),
        (lambda text: text.replace("target", "klass", 1), "no column 'target'"),
        (lambda text: text.replace("ISIC_0000001,", "ISIC_0000001,1.0,", 1), "line 3: not as many values"),
        (lambda text: text.replace("ISIC_0000001,", "ISIC_9999999,", 1), r"ISIC_9999999\.jpg"),
        (lambda text: text.replace("test", "train"), "no row whose fold is test"),
        (lambda text: text.splitlines()[0] + "\n", "no rows"),
        (lambda text: "", "no column"),
        (lambda text: "\x00\x01\x02" * 50, "train_test_split"),
    ],
)
def test_a_damaged_split_file_is_named_with_its_line(tmp_path: Path, edit: Callable[[str], str], says: str) -> None:
    write_flamby_isic(tmp_path)
    path = tmp_path / "train_test_split"
    path.write_text(edit(path.read_text()))
    with pytest.raises(ConfigError, match=says):
        sources.build("fed_isic2019").load(tmp_path)


def test_preparing_writes_nothing_outside_its_folder(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    write_raw_isic(root)
    rows = "image,target,center,fold\n../../escaped,0,0,train\nISIC_0000000,0,0,test\n"
    (root / "train_test_split").write_text(rows)
    with pytest.raises(ConfigError, match="no name of an image"):
        sources.build("fed_isic2019").prepare(root)
    assert not list(tmp_path.glob("escaped*"))


def test_the_challenge_s_tables_are_checked(tmp_path: Path) -> None:
    write_raw_isic(tmp_path)
    truth = tmp_path / "ISIC_2019_Training_GroundTruth.csv"
    whole = truth.read_text()
    truth.write_text(whole.replace("ISIC_0000001,0.0,", "ISIC_0000001,1.0,"))
    with pytest.raises(ConfigError, match="gives ISIC_0000001 2 classes"):
        draw_split(tmp_path)
    truth.write_text(whole.replace("ISIC_0000001,", "ISIC_9000001,"))
    with pytest.raises(ConfigError, match="no row for ISIC_0000001"):
        draw_split(tmp_path)
    truth.write_text(whole)
    metadata = tmp_path / "ISIC_2019_Training_Metadata.csv"
    metadata.write_text(metadata.read_text().replace("BCN_", "XYZ_"))
    with pytest.raises(ConfigError, match="does not tell the centre of ISIC_0000000"):
        draw_split(tmp_path)
