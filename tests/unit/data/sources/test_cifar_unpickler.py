"""CIFAR's pickles: the published files load, and nothing is executed of any other, whatever is in it."""

import copyreg
import hashlib
import os
import pickle
import random
import struct
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from fedsim.data.sources import sources
from fedsim.data.sources.cifar import _unpickled
from fedsim.errors import ConfigError
from support.data_sets import python2_pickle, write_cifar10, write_cifar100

PIXELS = np.zeros((2, 3072), dtype=np.uint8)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FEDSIM_CACHE", str(folder))
    return folder


def refused(root: Path, name: str = "cifar10", **settings: Any) -> ConfigError:
    """The ConfigError that loading ends with; files of any content are accepted."""
    with pytest.raises(ConfigError) as raised:
        sources.build(name, **{"verify": False, **settings}).load(root)
    assert raised.value.key == "root"
    assert f"fedsim.prepare {name} --root" in raised.value.remedy
    return raised.value


def text(value: str) -> bytes:
    """A string in protocol 4."""
    return b"\x8c" + bytes([len(value.encode())]) + value.encode()


# Pickles that would run something --------------------------------------------------------------------------------


class Calls:
    """Pickled as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class State:
    """Pickled with a state that is itself a call."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def __reduce__(self) -> Any:
        return np.ndarray, ((1,), "u1"), self.state


def payloads(marker: str) -> dict[str, tuple[str, bytes]]:
    """Pickles which create the file ``marker`` when they are read, by each way that there is, and what they name."""
    touch, write = f"touch {marker}", f"open({marker!r}, 'w')"
    system = Calls(os.system, touch)
    calls = {
        "posix.system": system,
        "builtins.eval": Calls(eval, write),
        "builtins.exec": Calls(exec, write),
        "io.open": Calls(open, marker, "w"),
        "subprocess.call": Calls(subprocess.call, ["touch", marker]),
        "numpy.savetxt": Calls(np.savetxt, marker, [1.0]),
        "builtins.getattr": Calls(getattr, Calls(eval, write), "name"),
    }
    found = {
        f"{name}, protocol {protocol}": (
            # protocols below 3 name functions as Python 2 did
            name.replace("builtins", "__builtin__").replace("subprocess", "commands") if protocol < 3 else name,
            pickle.dumps({"data": value}, protocol),
        )
        for name, value in calls.items()
        for protocol in (0, 2, 4)
    }
    argument = b"(S'" + touch.encode() + b"'\ntR"
    framed = text("posix") + text("system") + b"\x93" + text(touch) + b"\x85R."
    memmap = text("numpy") + text("memmap") + b"\x93(" + text(marker) + text("u1") + text("w+") + b"K\x00K\x01t"
    return found | {
        "deep inside": ("posix.system", pickle.dumps({"data": [[{"a": (system,)}]]}, 2)),
        "as a key": ("os.system", b"}cos\nsystem\n" + argument + b"I1\ns."),
        "in the state of an array": ("posix.system", pickle.dumps(State(system), 2)),
        "in a frame": ("posix.system", b"\x80\x04\x95" + struct.pack("<Q", len(framed)) + framed),
        "dots below numpy": (
            "numpy.lib._npyio_impl.os.system",
            b"\x80\x04" + text("numpy") + text("lib._npyio_impl.os.system") + b"\x93" + text(touch) + b"\x85R.",
        ),
        "Python 2": ("__builtin__.eval", b"c__builtin__\neval\n(S\"" + write.encode() + b"\"\ntR."),
        "INST": ("os.system", b"(S'" + touch.encode() + b"'\nios\nsystem\n."),
        "OBJ": ("subprocess.Popen", b"(csubprocess\nPopen\n](S'touch'\nS'" + marker.encode() + b"'\neo."),
        "NEWOBJ": ("numpy.memmap", b"\x80\x04" + memmap + b"\x81."),
        "NEWOBJ_EX": ("numpy.memmap", b"\x80\x04" + memmap + b"}\x92."),
        "after a whole dictionary": ("os.system", b"\x80\x02}0cos\nsystem\n" + argument + b"0}."),
        "kept in the memo": ("os.system", b"cos\nsystem\np0\n0g0\n" + argument + b"."),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(payloads("x")))
def test_nothing_in_a_pickle_is_executed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # names stay short
    (wanted, payload), marker = payloads("marker")[name], tmp_path / "marker"
    with pytest.raises(pickle.UnpicklingError, match=f"it asks for {wanted}, which no file of CIFAR holds"):
        _unpickled(payload)
    assert not marker.exists()
    with suppress(Exception):  # that it would have been, otherwise
        pickle.loads(payload)  # noqa: S301 - harmless, and the point of this test
    for _ in range(100):
        if marker.exists():
            break
        time.sleep(0.02)
    assert marker.exists(), "this payload is none"


@pytest.mark.parametrize("file", ["data_batch_1", "data_batch_4", "test_batch", "batches.meta"])
def test_a_hostile_file_is_named_and_not_executed(
    file: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = write_cifar10(tmp_path, per_batch=2)
    for wanted, payload in payloads("marker").values():
        (folder / file).write_bytes(payload)
        assert f"{folder / file} is not usable: it asks for {wanted}" in refused(tmp_path).problem
    assert not (tmp_path / "marker").exists()
    assert list(cache.iterdir()) == []


def test_extension_codes_and_persistent_ids_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    copyreg.add_extension("io", "open", 0xF5)
    try:
        with pytest.raises(pickle.UnpicklingError, match=r"asks for io\.open"):
            _unpickled(b"\x80\x02\x82\xf5(U\x06markerU\x01wtR.")
    finally:
        copyreg.remove_extension("io", "open", 0xF5)
    assert not (tmp_path / "marker").exists()
    for payload in (b"Psomething\n.", b"\x80\x02U\x04someQ."):
        with pytest.raises(pickle.UnpicklingError, match="persistent"):
            _unpickled(payload)


@pytest.mark.parametrize("module", ["numpy", "numpy.core.multiarray", "numpy._core.multiarray", "_codecs", "os"])
def test_only_what_arrays_are_made_of_is_allowed(module: str) -> None:
    held = {"numpy": ("ndarray", "dtype"), "_codecs": (), "os": ()}.get(module, ("_reconstruct",))
    for name in ("ndarray", "dtype", "_reconstruct", "scalar", "load", "encode", "system", "path.os.system"):
        payload = b"\x80\x04" + text(module) + text(name) + b"\x93."
        if name in held:
            assert callable(_unpickled(payload))
        else:
            with pytest.raises(pickle.UnpicklingError, match=f"asks for {module}.{name}"):
                _unpickled(payload)


# Damaged files ---------------------------------------------------------------------------------------------------


def test_a_file_cut_anywhere_is_named(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=2)
    whole = (folder / "test_batch").read_bytes()
    for end in [*range(300), *range(300, len(whole) - 300, 97), *range(len(whole) - 300, len(whole))]:
        with pytest.raises((pickle.UnpicklingError, EOFError, ValueError)):
            _unpickled(whole[:end])
    for end in (0, 1, 50, len(whole) // 2, len(whole) - 1):
        (folder / "test_batch").write_bytes(whole[:end])
        assert f"{folder / 'test_batch'} is not usable" in refused(tmp_path).problem


def test_flipped_bits_never_get_past_the_source_as_something_else(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=1)
    whole = bytearray((folder / "test_batch").read_bytes())
    pixels = whole.find(_unpickled(bytes(whole))[b"data"].tobytes())
    draws = random.Random(1)
    for position in draws.sample([*range(pixels), *range(pixels + 3072, len(whole))], 120):
        whole[position] ^= (bit := 1 << draws.randrange(8))
        (folder / "test_batch").write_bytes(whole)
        whole[position] ^= bit
        try:
            splits = sources.build("cifar10", verify=False).load(tmp_path)
        except ConfigError as error:
            assert str(folder / "test_batch") in error.problem  # noqa: PT017 - either is good
        else:
            assert torch.stack(list(splits.test.pick(torch.tensor([0])))).shape == (1, 3, 32, 32)
            assert 0 <= int(splits.test.labels) < 10


def array_pickle(shape: bytes, code: bytes = b"u1", content: bytes = b"U\x02ab") -> bytes:
    """A dictionary with an array under 'data', which claims a shape."""
    state = b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    kind = b"cnumpy\ndtype\n(U" + bytes([len(code)]) + code + b"K\x00K\x01tR" + state
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    return b"\x80\x02}U\x04data" + empty + b"(K\x01" + shape + kind + b"\x89" + content + b"tbs."


HUGE = b"\x8a\x06" + (2**40).to_bytes(6, "little")
BOMBS = {
    "an array of a terabyte that holds two bytes": array_pickle(b"(" + HUGE + b"t"),
    "an array of 2^80 bytes": array_pickle(b"(" + HUGE + HUGE + b"t"),
    "200 dimensions": array_pickle(b"(" + b"K\x01" * 200 + b"K\x02t"),
    "a negative dimension": array_pickle(b"(J\xff\xff\xff\xfft"),
    "an empty array of 2^80 bytes": b"\x80\x02}U\x04datacnumpy\nndarray\n(" + HUGE + HUGE + b"\x86U\x02u1tRs.",
    "a text of 512 MiB": b"\x80\x02}U\x04dataX" + struct.pack("<I", 2**29) + b"few bytes",
    "bytes of 512 MiB": b"\x80\x02}U\x04dataT" + struct.pack("<i", 2**29) + b"few bytes",
    "bytes of an exabyte": b"\x80\x05}U\x04data\x8e" + struct.pack("<Q", 2**60) + b"few bytes",
    "a frame of 512 MiB": b"\x80\x04\x95" + struct.pack("<Q", 2**29) + b"}.",
}


@pytest.mark.parametrize("what", BOMBS)
def test_a_tiny_file_of_huge_size_is_named_and_takes_no_memory(what: str, tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=1)
    (folder / "data_batch_2").write_bytes(BOMBS[what])
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    assert f"{folder / 'data_batch_2'} is not usable: " in refused(tmp_path).problem
    assert resident("VmHWM") - before < 100


def resident(name: str) -> int:
    """MiB of this process's memory, now (VmRSS) or at its peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) // 1024


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=1)
    published = Published(folder)
    with (folder / "test_batch").open("ab") as file:
        file.truncate(2**30 + 1)  # without content on disk
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchvision.datasets, "CIFAR10", published)
        for verify in (True, False):
            assert f"{folder / 'test_batch'} is not usable: it is larger" in refused(tmp_path, verify=verify).problem


# Contents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"\x80\x02].", b"\x80\x02N.", b"I1\n.", b"\x80\x02U\x01a.", b"\x80\x02}K\x01K\x01s."]
)
def test_what_is_no_dictionary_of_texts_is_refused(content: bytes, tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=1)
    (folder / "test_batch").write_bytes(content)
    assert "it holds no dictionary with keys of text" in refused(tmp_path).problem


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"data": PIXELS}, "no class below 10 for each image under 'labels'"),
        ({"labels": [0, 1]}, "no images of 3 x 32 x 32 bytes under 'data'"),
        ({}, "no images"),
        ({"data": PIXELS[:, :3071], "labels": [0, 1]}, "no images"),
        ({"data": PIXELS.reshape(2, 3, 32, 32), "labels": [0, 1]}, "no images"),
        ({"data": PIXELS[0], "labels": [0]}, "no images"),
        ({"data": [1, 2], "labels": [0, 1]}, "no images"),
        ({"data": PIXELS.astype(np.uint16), "labels": [0, 1]}, "no images"),
        ({"data": PIXELS.astype(np.float32), "labels": [0, 1]}, "no images"),
        ({"data": PIXELS, "labels": [0]}, "no class"),
        ({"data": PIXELS, "labels": [0, 1, 2]}, "no class"),
        ({"data": PIXELS, "labels": [0, 10]}, "no class"),
        ({"data": PIXELS, "labels": [-1, 0]}, "no class"),
        ({"data": PIXELS, "labels": [True, False]}, "no class"),
        ({"data": PIXELS, "labels": ["0", "1"]}, "no class"),
        ({"data": PIXELS, "labels": 3}, "no class"),
        ({"data": PIXELS, "labels": np.zeros(2, dtype=np.uint8)}, "no class"),
        ({"data": PIXELS, "fine_labels": [0, 1]}, "no class"),
    ],
)
def test_batches_of_the_wrong_content_are_refused(
    content: dict[Any, Any], problem: str, tmp_path: Path, cache: Path
) -> None:
    folder = write_cifar10(tmp_path, per_batch=2)
    for name in ("data_batch_2", "test_batch"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(python2_pickle(content))
        error = refused(tmp_path)
        assert f"{folder / name} is not usable: {problem}" in error.problem
        (folder / name).write_bytes(whole)
    assert list(cache.iterdir()) == []
    assert len(sources.build("cifar10", verify=False).load(tmp_path).train) == 10


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=2)
    (folder / "test_batch").write_bytes(array_pickle(b"(K\x01t", code=b"O8", content=b"](cos\nsystem\ne"))
    assert "it asks for os.system" in refused(tmp_path).problem
    (folder / "test_batch").write_bytes(array_pickle(b"(K\x01t", code=b"O8", content=b"](K\x01e"))
    assert f"{folder / 'test_batch'} is not usable" in refused(tmp_path).problem


def test_fine_labels_of_cifar100_are_checked_too(tmp_path: Path) -> None:
    folder = write_cifar100(tmp_path, train=2, test=2)
    for labels in ([0, 100], [0], [0, -1]):
        (folder / "train").write_bytes(python2_pickle({"data": PIXELS, "fine_labels": labels}))
        assert "no class below 100 for each image under 'fine_labels'" in refused(tmp_path, "cifar100").problem


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"label_names": ["a"] * 9},
        {"label_names": "abcdefghij"},
        {"fine_label_names": ["a"] * 10},
        {"label_names": [1] * 10},
    ],
    ids=["nothing", "nine", "a text", "another key", "numbers"],
)
def test_a_file_without_ten_names_is_named(content: dict[Any, Any], tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=1)
    (folder / "batches.meta").write_bytes(python2_pickle(content))
    problem = refused(tmp_path).problem
    assert f"{folder / 'batches.meta'} is not usable: no 10 names under 'label_names'" in problem


def test_missing_files_and_folders_in_the_place_of_files_are_named(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=1)
    for name in ("data_batch_5", "test_batch", "batches.meta"):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        assert f"there is no file {folder / name}" in refused(tmp_path).problem
        (folder / name).mkdir()
        assert f"there is no file {folder / name}" in refused(tmp_path).problem
        (folder / name).rmdir()
        (folder / name).write_bytes(content)


# Checksums -------------------------------------------------------------------------------------------------------


class Published:
    """Stands for torchvision's class: the files of a folder are the published ones."""

    def __init__(self, folder: Path) -> None:
        sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        self.meta = {"md5": sums.pop("meta", "") or sums.pop("batches.meta", "")}
        self.train_list = [[name, md5] for name, md5 in sums.items() if "test" not in name]
        self.test_list = [[name, md5] for name, md5 in sums.items() if "test" in name]


@pytest.mark.parametrize(
    ("name", "kind", "write"), [("cifar10", "CIFAR10", write_cifar10), ("cifar100", "CIFAR100", write_cifar100)]
)
def test_published_files_load_and_any_other_is_named(
    name: str, kind: str, write: Callable[[Path], Path], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path)
    monkeypatch.setattr(torchvision.datasets, kind, Published(folder))
    splits = sources.build(name).load(tmp_path)
    other = sources.build(name, verify=False).load(tmp_path)
    assert splits.class_names == other.class_names
    everything = torch.arange(len(splits.train))
    pictures, others = (torch.stack(list(each.train.pick(everything))) for each in (splits, other))
    assert torch.equal(pictures, others)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        path.write_bytes(content + b" ")  # pickle does not read it, but the file is another one
        error = refused(tmp_path, name, verify=True)
        assert f"{path} is not the published file" in error.problem
        assert "verify" in error.remedy
        sources.build(name, verify=False).load(tmp_path)
        refused(tmp_path, name, verify=True)  # nor does the cache of the other setting help
        path.write_bytes(content)


def test_nothing_is_unpickled_of_a_file_that_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpickled(raw: bytes) -> Any:
        raise AssertionError("this file should not be unpickled")

    monkeypatch.setattr("fedsim.data.sources.cifar._unpickled", unpickled)
    folder = write_cifar10(tmp_path, per_batch=1)
    assert f"{folder / 'data_batch_1'} is not the published file" in refused(tmp_path, verify=True).problem
