"""Data of strangers: whatever is in a file, nothing of it is executed and the message names the file."""

import copyreg
import os
import pickle
import random
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from fedsim.data.sources import python2_pickle as reader
from fedsim.data.sources import sources
from fedsim.data.sources.isic2019_tables import draw_split
from fedsim.data.sources.python2_pickle import RefusedPickleError, read_dictionary
from fedsim.errors import ConfigError
from support.data_sets import (
    EUROSAT,
    isic_rows,
    python2_pickle,
    write_cifar10,
    write_cifar100,
    write_class_folders,
    write_eurosat,
    write_flamby_isic,
    write_raw_isic,
    write_rows,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*(other files than the published ones|that were published)")


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


def text(value: str) -> bytes:
    """A string in protocol 4."""
    return b"\x8c" + bytes([len(value.encode())]) + value.encode()


def grown_memory(action: Callable[[], Any]) -> int:
    """MiB by which memory was larger at its peak in ``action`` than before."""

    def kilobytes(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(name)).split()[1])

    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = kilobytes("VmRSS")
    action()
    return (kilobytes("VmHWM") - before) // 1024


# Pickles that would run something --------------------------------------------------------------------------------


class Calls:
    """Pickled as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def payloads(marker: str) -> dict[str, bytes]:
    """Pickles which create the file ``marker`` when they are read, by every way that there is."""
    touch = f"touch {marker}"
    write = f"open({marker!r}, 'w')"
    call = {
        "posix.system": Calls(os.system, touch),
        "builtins.eval": Calls(eval, write),
        "builtins.exec": Calls(exec, write),
        "builtins.open": Calls(open, marker, "w"),
        "subprocess": Calls(subprocess.call, ["touch", marker]),
        "numpy.savetxt": Calls(np.savetxt, marker, [1.0]),
    }
    found = {
        f"{name}, protocol {protocol}": pickle.dumps({"data": value}, protocol)
        for name, value in call.items()
        for protocol in (0, 2, 4)
    }
    framed = text("posix") + text("system") + b"\x93" + text(touch) + b"\x85R."
    memmap = text("numpy") + text("memmap") + b"\x93(" + text(marker) + text("u1") + text("w+") + b"K\x00K\x01t"
    empty_array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    found |= {
        "deep inside": pickle.dumps({"data": [[{"a": (call["posix.system"],)}]]}, 2),
        "as a key": b"}cos\nsystem\n(S'" + touch.encode() + b"'\ntRI1\ns.",
        "in a frame": b"\x80\x04\x95" + struct.pack("<Q", len(framed)) + framed,
        "in the state of an array": b"\x80\x02" + empty_array + b"cos\nsystem\n(S'" + touch.encode() + b"'\ntRb.",
        "dots below numpy": b"\x80\x04" + text("numpy") + text("lib._npyio_impl.os.system") + b"\x93"
        + text(touch) + b"\x85R.",
        "os.system": b"cos\nsystem\n(S'" + touch.encode() + b"'\ntR.",
        "__builtin__ of Python 2": b"c__builtin__\neval\n(S\"" + write.encode() + b"\"\ntR.",
        "INST": b"(S'" + touch.encode() + b"'\nios\nsystem\n.",
        "OBJ": b"(csubprocess\nPopen\n](S'touch'\nS'" + marker.encode() + b"'\neo.",
        "NEWOBJ": b"\x80\x04" + memmap + b"\x81.",
        "NEWOBJ_EX": b"\x80\x04" + memmap + b"}\x92.",
        "STACK_GLOBAL": b"\x80\x04" + text("posix") + text("system") + b"\x93" + text(touch) + b"\x85R.",
        "STACK_GLOBAL with dots": b"\x80\x04" + text("os") + text("path.os.system") + b"\x93"
        + text(touch) + b"\x85R.",
        "numpy's runstring": b"\x80\x02cnumpy.testing._private.utils\nrunstring\n(S\""
        + write.encode()
        + b"\"\n}tR.",
        "after a whole dictionary": b"\x80\x02}0cos\nsystem\n(S'" + touch.encode() + b"'\ntR0}.",
        "kept in the memo": b"cos\nsystem\np0\n0g0\n(S'" + touch.encode() + b"'\ntR.",
        "as a text without encoding": b"\x80\x02}U\x01acos\nsystem\nU"
        + bytes([len(touch)]) + touch.encode() + b"\x85Rs.",
    }  # fmt: skip
    return found


NAMES = list(payloads("x"))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_a_pickle_is_executed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # names stay short
    payload, marker = payloads("mark")[name], tmp_path / "mark"
    path = tmp_path / "batch"
    path.write_bytes(payload)
    with pytest.raises(RefusedPickleError, match="which no data file needs"):
        read_dictionary(path)
    assert not marker.exists()
    with suppress(Exception):  # that it would have been, otherwise
        pickle.loads(payload)  # noqa: S301 - harmless, and the point of this test
    for _ in range(100):
        if marker.exists():
            break
        time.sleep(0.02)
    assert marker.exists(), "this payload is none"


@pytest.mark.parametrize("file", ["data_batch_1", "data_batch_4", "test_batch", "batches.meta"])
def test_a_hostile_batch_is_named_and_not_executed(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_cifar10(tmp_path, per_batch=2)
    for payload in payloads("mark").values():
        (folder / file).write_bytes(payload)
        error = loaded("cifar10", tmp_path)
        assert str(folder / file) in str(error)
        assert "remove it; then" in error.remedy
        assert not (tmp_path / "mark").exists()


def test_an_extension_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    payload = b"\x80\x02\x82\xf5" + b"(U\x04markU\x01wtR."
    path = tmp_path / "batch"
    path.write_bytes(payload)
    with pytest.raises(RefusedPickleError, match="no data file needs"):
        read_dictionary(path)
    copyreg.add_extension("io", "open", 0xF5)
    try:
        with pytest.raises(RefusedPickleError, match="no data file needs"):
            read_dictionary(path)
        assert not (tmp_path / "mark").exists()
        pickle.loads(payload, encoding="latin1").close()  # noqa: S301 - harmless
        assert (tmp_path / "mark").exists()
    finally:
        copyreg.remove_extension("io", "open", 0xF5)


@pytest.mark.parametrize("payload", [b"Psomething\n.", b"\x80\x02U\x04someQ."], ids=["PERSID", "BINPERSID"])
def test_persistent_ids_are_refused(payload: bytes, tmp_path: Path) -> None:
    (tmp_path / "batch").write_bytes(payload)
    with pytest.raises(RefusedPickleError, match="no data file needs"):
        read_dictionary(tmp_path / "batch")


ALLOWED = [
    (module, name)
    for module, name in [
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    ]
]


def test_only_what_arrays_are_made_of_is_allowed() -> None:
    assert set(reader.ALLOWED) == set(ALLOWED)
    for kind in reader.ALLOWED.values():
        assert kind.__module__ == reader.__name__  # ours, not numpy's
        assert isinstance(kind, type)


@pytest.mark.parametrize("how", ["the class", "an instance", "slots"])
@pytest.mark.parametrize(("module", "name"), ALLOWED)
def test_build_cannot_change_what_stands_for_numpy(how: str, module: str, name: str, tmp_path: Path) -> None:
    kind = reader.ALLOWED[module, name]
    before = dict(vars(kind))
    state = b"}(U\x05stateU\x04evilU\x05arrayU\x04evilU\x07__new__U\x04evilU\x0c__setstate__U\x04evilu"
    state = b"N" + state + b"\x86" if how == "slots" else state
    made = b"(U\x01xtR" if how == "an instance" else b""
    (tmp_path / "batch").write_bytes(b"\x80\x02}U\x01ac" + f"{module}\n{name}\n".encode() + made + state + b"bs.")
    with suppress(RefusedPickleError):
        read_dictionary(tmp_path / "batch")
    assert dict(vars(kind)) == before
    assert not any(hasattr(vars(kind).get(key), "decode") for key in before)


@pytest.mark.parametrize("text_and_encoding", [b"U\x01x", b"X\x01\x00\x00\x00xU\x05rot13", b"K\x01U\x06latin1"])
def test_encode_knows_latin1_only(text_and_encoding: bytes, tmp_path: Path) -> None:
    (tmp_path / "batch").write_bytes(b"\x80\x02}U\x01ac_codecs\nencode\n(" + text_and_encoding + b"tRs.")
    with pytest.raises(RefusedPickleError, match="bytes that are not written as text"):
        read_dictionary(tmp_path / "batch")


# Damaged pickles -------------------------------------------------------------------------------------------------


def test_a_batch_cut_anywhere_is_refused(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=2)
    whole = (folder / "test_batch").read_bytes()
    path = tmp_path / "cut"
    ends = [*range(300), *range(300, len(whole) - 300, 97), *range(len(whole) - 300, len(whole))]
    for end in ends:
        path.write_bytes(whole[:end])
        with pytest.raises(RefusedPickleError, match=r"damaged|no data file needs"):
            read_dictionary(path)
    for end in (0, 1, 50, len(whole) // 2, len(whole) - 1):
        (folder / "test_batch").write_bytes(whole[:end])
        error = loaded("cifar10", tmp_path)
        assert f"{folder / 'test_batch'} is not usable" in error.problem


def test_random_bytes_are_refused(tmp_path: Path) -> None:
    draws, path = random.Random(0), tmp_path / "random"
    for number in range(3000):
        start = [b"", b"\x80\x02", b"\x80\x02}(U\x04data", b"\x80\x04\x95"][number % 4]
        path.write_bytes(start + draws.randbytes(draws.randrange(1, 400)))
        with pytest.raises(RefusedPickleError):
            read_dictionary(path)


def test_flipped_bits_are_refused_or_only_change_content(tmp_path: Path) -> None:
    """Each bit beside the pixels, one after the other."""
    folder = write_cifar10(tmp_path, per_batch=1)
    whole = bytearray((folder / "test_batch").read_bytes())
    pixels = whole.find(read_dictionary(folder / "test_batch")["data"].tobytes())
    path, outcomes = tmp_path / "flipped", {"read": 0, "refused": 0}
    for position in [*range(pixels), *range(pixels + 3072, len(whole))]:
        for bit in range(8):
            whole[position] ^= 1 << bit
            path.write_bytes(whole)
            whole[position] ^= 1 << bit
            try:
                assert isinstance(read_dictionary(path), dict)
                outcomes["read"] += 1
            except RefusedPickleError:
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 100


def test_flipped_bits_never_get_past_the_source_as_something_else(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=1)
    whole = bytearray((folder / "test_batch").read_bytes())
    pixels = whole.find(read_dictionary(folder / "test_batch")["data"].tobytes())
    draws = random.Random(1)
    for position in draws.sample([*range(pixels), *range(pixels + 3072, len(whole))], 120):
        whole[position] ^= (bit := 1 << draws.randrange(8))
        (folder / "test_batch").write_bytes(whole)
        whole[position] ^= bit
        try:
            splits = sources.build("cifar10").load(tmp_path)
        except ConfigError as error:
            assert str(folder / "test_batch") in error.problem  # noqa: PT017 - either is good
        else:
            assert splits.test.inputs.shape == (1, 3, 32, 32)
            assert 0 <= int(splits.test.labels) < 10


HUGE = 2**29
CLAIMS = {
    "BINUNICODE": b"X" + struct.pack("<I", HUGE),
    "BINSTRING": b"T" + struct.pack("<i", HUGE),
    "BINBYTES": b"B" + struct.pack("<I", HUGE),
    "BINUNICODE8": b"\x8d" + struct.pack("<Q", HUGE),
    "BINBYTES8": b"\x8e" + struct.pack("<Q", HUGE),
    "BYTEARRAY8": b"\x96" + struct.pack("<Q", HUGE),
    "FRAME": b"\x95" + struct.pack("<Q", HUGE),
    "LONG4": b"\x8b" + struct.pack("<i", HUGE),
    "BINBYTES8, more than there is": b"\x8e" + struct.pack("<Q", 2**60),
    "BINBYTES8, more than can be": b"\x8e" + struct.pack("<Q", 2**64 - 1),
    "BINSTRING, negative": b"T" + struct.pack("<i", -5),
    "LONG4, negative": b"\x8b" + struct.pack("<i", -5),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_huge_claimed_lengths_take_no_memory(name: str, tmp_path: Path) -> None:
    (tmp_path / "batch").write_bytes(b"\x80\x05}U\x04data" + CLAIMS[name] + b"few bytes")

    def read() -> None:
        with pytest.raises(RefusedPickleError):
            read_dictionary(tmp_path / "batch")

    assert grown_memory(read) < 100


@pytest.mark.parametrize("index", [2**24, 2**31, 2**32 - 1])
def test_a_huge_memo_index_takes_no_memory(index: int, tmp_path: Path) -> None:
    where = struct.pack("<I", index)
    (tmp_path / "batch").write_bytes(b"\x80\x02}(U\x01aU\x05valuer" + where + b"U\x01bj" + where + b"u.")

    def read() -> None:
        assert read_dictionary(tmp_path / "batch") == {"a": b"value", "b": b"value"}

    assert grown_memory(read) < 50


def test_one_text_encoded_often_takes_no_memory(tmp_path: Path) -> None:
    """A few bytes of file for each copy of a long text."""
    long = b"X" + struct.pack("<I", 2**23) + b"x" * 2**23 + b"q\x00c_codecs\nencode\nq\x01"
    again = b"h\x01(h\x00U\x06latin1tR"
    (tmp_path / "batch").write_bytes(b"\x80\x02}U\x04data](" + long + 60 * again + b"es.")

    def read() -> None:
        with suppress(RefusedPickleError):
            read_dictionary(tmp_path / "batch")

    assert grown_memory(read) < 200


def test_memo_entries_that_are_not_there_are_refused(tmp_path: Path) -> None:
    for get in (b"h\x05", b"j\xff\xff\xff\xff", b"g77\n", b"g-1\n"):
        (tmp_path / "batch").write_bytes(b"\x80\x02}U\x01a" + get + b"s.")
        with pytest.raises(RefusedPickleError):
            read_dictionary(tmp_path / "batch")


@pytest.mark.parametrize("nest", [b"]" * 100_000 + b"a" * 99_999, b")" + b"\x85" * 3000], ids=["lists", "tuples"])
def test_deeply_nested_values_do_no_harm(nest: bytes, tmp_path: Path) -> None:
    (tmp_path / "batch").write_bytes(b"\x80\x02}U\x04data" + nest + b"s.")
    assert set(read_dictionary(tmp_path / "batch")) == {"data"}
    folder = write_cifar10(tmp_path, per_batch=1)
    (folder / "test_batch").write_bytes((tmp_path / "batch").read_bytes())
    assert "no images of" in loaded("cifar10", tmp_path).problem


def read_elsewhere(path: Path, seconds: int = 60) -> str:
    """What reading a file ends with in a process of its own, which may die."""
    code = (
        "import sys, pathlib\n"
        "from fedsim.data.sources.python2_pickle import RefusedPickleError, read_dictionary\n"
        "print('started', flush=True)\n"
        "try: read_dictionary(pathlib.Path(sys.argv[1]))\n"
        "except RefusedPickleError: print('refused')\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return "hangs"
    assert done.stdout.startswith("started"), done.stderr
    return "refused" if done.stdout.endswith("refused\n") else f"status {done.returncode}"


def test_a_deeply_nested_key_does_not_crash_the_process(tmp_path: Path) -> None:
    """The hash of a tuple is that of what is in it, without a limit of depth."""
    (tmp_path / "batch").write_bytes(b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s.")
    assert read_elsewhere(tmp_path / "batch") == "refused"


def test_a_key_that_doubles_itself_does_not_hang(tmp_path: Path) -> None:
    """The hash of ((x, x), (x, x)) takes twice as long with each level."""
    (tmp_path / "batch").write_bytes(b"\x80\x02})" + b"2\x86" * 60 + b"K\x01s.")
    assert read_elsewhere(tmp_path / "batch", seconds=20) == "refused"


@pytest.mark.parametrize(
    "key",
    [b")" + b"\x85" * 3000, b"\x8b" + struct.pack("<i", 3000) + b"\x7f" * 3000],
    ids=["nested tuples", "a number of 7000 digits"],
)
def test_a_key_that_cannot_be_shown_is_refused(key: bytes, tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=1)
    (folder / "test_batch").write_bytes(b"\x80\x02}" + key + b"K\x01s.")
    assert str(folder / "test_batch") in loaded("cifar10", tmp_path).problem


@pytest.mark.parametrize("content", [b"\x80\x02].", b"\x80\x02N.", b"I1\n.", b"\x80\x02U\x01a."])
def test_what_is_no_dictionary_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(RefusedPickleError, match="no dictionary"):
        read_dictionary(tmp_path / "batch")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "batch").open("wb") as file:
        file.write(b"\x80\x02}.")
        file.truncate(2**30 + 1)  # without content on disk
    with pytest.raises(RefusedPickleError, match="larger than"):
        read_dictionary(tmp_path / "batch")


# Pickles of the wrong things -------------------------------------------------------------------------------------


def array_pickle(shape: bytes, code: bytes = b"u1", fortran: bytes = b"\x89", content: bytes = b"U\x02ab") -> bytes:
    """A dictionary with an array under 'data'."""
    state = b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    kind = b"cnumpy\ndtype\n(U" + bytes([len(code)]) + code + b"K\x00K\x01tR" + state
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    return b"\x80\x02}U\x04data" + empty + b"(K\x01" + shape + kind + fortran + content + b"tbs."


def test_the_arrays_of_these_tests_are_those_of_numpy(tmp_path: Path) -> None:
    (tmp_path / "batch").write_bytes(array_pickle(b"(K\x01K\x02t"))
    theirs = pickle.loads(array_pickle(b"(K\x01K\x02t"), encoding="bytes")  # noqa: S301 - ours
    assert theirs[b"data"].tolist() == [[97, 98]]
    assert np.array_equal(read_dictionary(tmp_path / "batch")["data"], theirs[b"data"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (array_pickle(b"(K\x01K\x01t", code=b"O8", content=b"](cos\nsystem\nea"), "no data file needs"),
        (array_pickle(b"(K\x01K\x02t", code=b"O8", content=b"]"), "something else than bytes"),
        (array_pickle(b"(K\x01K\x01t", code=b"u2"), "something else than bytes"),
        (array_pickle(b"(K\x01K\x02t", code=b"i1"), "something else than bytes"),
        (array_pickle(b"(K\x01K\x02t", code=b"S1"), "something else than bytes"),
        (array_pickle(b"(K\x02K\x01t", fortran=b"\x88"), "something else than bytes"),
        (array_pickle(b"(K\x02K\x01t", fortran=b"K\x00"), "something else than bytes"),
        (array_pickle(b"(K\x02K\x01t", content=b"K\x05"), "something else than bytes"),
        (array_pickle(b"(K\x02K\x01t", content=b"N"), "something else than bytes"),
        (array_pickle(b"(K\x03K\x01t"), "cannot reshape"),
        (array_pickle(b"(J\xff\xff\xff\xfft"), "without shape"),
        (array_pickle(b"(\x88K\x02t"), "without shape"),
        (array_pickle(b"(U\x01xt"), "without shape"),
        (array_pickle(b"(\x8a\x0a" + b"\x00" * 9 + b"\x01t"), "aximum"),
        (array_pickle(b"(" + b"K\x01" * 200 + b"K\x02t"), "aximum"),
        (b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\n)Rs.", "without content"),
        (b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\n)R}bs.", "without content"),
        (b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\n)R(NNNNtbs.", "without content"),
        (b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\n)R(NNNNNtbs.", "something else than bytes"),
    ],
)
def test_arrays_of_the_wrong_kind_are_refused(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(RefusedPickleError, match=said):
        read_dictionary(tmp_path / "batch")


PIXELS = np.zeros((2, 3072), dtype=np.uint8)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"data": PIXELS}, "no class below 10 for each image under 'labels'"),
        ({"labels": [0, 1]}, "no images of 3 x 32 x 32 bytes under 'data'"),
        ({}, "no images"),
        ({"data": PIXELS[:, :3071], "labels": [0, 1]}, "no images"),
        ({"data": PIXELS.reshape(2, 3, 32, 32), "labels": [0, 1]}, "no images"),
        ({"data": PIXELS[0], "labels": [0]}, "no images"),
        ({"data": [1, 2], "labels": [0, 1]}, "no images"),
        ({"data": PIXELS, "labels": [0]}, "no class"),
        ({"data": PIXELS, "labels": [0, 1, 2]}, "no class"),
        ({"data": PIXELS, "labels": [0, 10]}, "no class"),
        ({"data": PIXELS, "labels": [-1, 0]}, "no class"),
        ({"data": PIXELS, "labels": [0, 256]}, "no class"),
        ({"data": PIXELS, "labels": [True, False]}, "no class"),
        ({"data": PIXELS, "labels": ["0", "1"]}, "no class"),
        ({"data": PIXELS, "labels": [[0], [1]]}, "no class"),
        ({"data": PIXELS, "labels": 3}, "no class"),
        ({"data": PIXELS, "labels": np.zeros(2, dtype=np.uint8)}, "no class"),
        ({"data": PIXELS, "fine_labels": [0, 1]}, "no class"),
        ({"data": PIXELS.astype(np.uint16), "labels": [0, 1]}, "something else than bytes"),
        ({"data": PIXELS.astype(np.float32), "labels": [0, 1]}, "something else than bytes"),
    ],
)
def test_batches_of_the_wrong_content_are_refused(content: dict, said: str, tmp_path: Path, cache: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=2)
    for name in ("data_batch_2", "test_batch"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(python2_pickle(content))
        error = loaded("cifar10", tmp_path)
        assert str(folder / name) in error.problem
        assert said in error.problem
        assert "fedsim.prepare cifar10 --root" in error.remedy
        (folder / name).write_bytes(whole)
    assert list(cache.iterdir()) == []
    assert len(sources.build("cifar10").load(tmp_path).train) == 10


def test_fine_labels_of_cifar100_are_checked_too(tmp_path: Path) -> None:
    folder = write_cifar100(tmp_path, train=2, test=2)
    for labels in ([0, 100], [0], [0, -1]):
        (folder / "train").write_bytes(
            python2_pickle({"data": PIXELS, "fine_labels": labels, "coarse_labels": [0, 1]})
        )
        assert "no class below 100 for each image under 'fine_labels'" in loaded("cifar100", tmp_path).problem


@pytest.mark.parametrize(
    "content",
    [{}, {"label_names": ["a"] * 9}, {"label_names": "abcdefghij"}, {"fine_label_names": ["a"] * 10}],
    ids=["nothing", "nine", "a text", "another key"],
)
def test_a_file_without_ten_names_is_named(content: dict, tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=1)
    (folder / "batches.meta").write_bytes(python2_pickle(content))
    error = loaded("cifar10", tmp_path)
    assert f"{folder / 'batches.meta'} is not usable: no 10 names under 'label_names'" in error.problem


@pytest.mark.parametrize(
    "name", [b"]" * 100_000 + b"a" * 99_999, b"N", b"]" + b"2a" * 3], ids=["deep", "none", "own"]
)
def test_names_of_classes_that_are_no_text_are_refused(name: bytes, tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=1)
    (folder / "batches.meta").write_bytes(b"\x80\x02}U\x0blabel_names](" + name + b"K\x01" * 9 + b"es.")
    assert str(folder / "batches.meta") in loaded("cifar10", tmp_path).problem


def test_missing_files_and_folders_in_the_place_of_files_are_named(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=1)
    for name in ("data_batch_5", "test_batch", "batches.meta"):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        assert f"there is no file {folder / name}" in loaded("cifar10", tmp_path).problem
        (folder / name).mkdir()
        assert f"there is no file {folder / name}" in loaded("cifar10", tmp_path).problem
        (folder / name).rmdir()
        (folder / name).write_bytes(content)


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
