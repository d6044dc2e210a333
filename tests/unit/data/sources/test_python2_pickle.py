"""Pickles of strangers: nothing in them is executed, damaged ones are refused, and no claim takes memory."""

import copyreg
import os
import pickle
import random
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsim.data.sources import python2_pickle as reader
from fedsim.data.sources import sources
from fedsim.data.sources.python2_pickle import RefusedPickleError, read_dictionary
from fedsim.errors import ConfigError
from support.data_checks import grown_memory, loading_error, pictures
from support.data_sets import (
    small_sets_may_warn,
    write_cifar10,
)

pytestmark = [pytest.mark.usefixtures("cache"), small_sets_may_warn]


def text(value: str) -> bytes:
    """A string in protocol 4."""
    return b"\x8c" + bytes([len(value.encode())]) + value.encode()


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
        error = loading_error("cifar10", tmp_path)
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
        error = loading_error("cifar10", tmp_path)
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
            assert [image.shape for image in pictures(splits.test)] == [(3, 32, 32)]
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
    assert "no images of" in loading_error("cifar10", tmp_path).problem


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
    assert str(folder / "test_batch") in loading_error("cifar10", tmp_path).problem


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
