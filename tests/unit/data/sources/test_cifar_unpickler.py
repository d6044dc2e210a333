"""The restricted unpickler: hostile and damaged pickles run nothing and are refused by name."""

import copyreg
import os
import pickle
import random
import struct
import subprocess
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
from support.cifar import Published, array_pickle, refused
from support.data_sets import write_cifar10
from support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("cache")


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
    wait_until(marker.exists)  # else this payload is none


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
