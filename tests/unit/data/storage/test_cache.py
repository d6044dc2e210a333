"""The cache of decoded data: races, damage, full disks."""

import errno
import fcntl
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsim.data.sources import sources
from fedsim.data.storage.cache import cache_folder, cached_arrays, reserve_array
from fedsim.errors import ConfigError, FedsimWarning
from support.data_checks import disk_full, pairs, refuse
from support.data_sets import (
    small_sets_may_warn,
    write_cifar10,
    write_class_folders,
)
from support.users import another_user

pytestmark = pytest.mark.usefixtures("cache")


def write_ten(folder: Path) -> None:
    np.save(folder / "ten.npy", np.arange(10))


def test_the_cache_is_made_whole_or_not_at_all(cache: Path) -> None:
    def half(folder: Path) -> None:
        write_ten(folder)
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            cached_arrays("a", ["ten"], half)
        assert list(cache.iterdir()) == []
    assert cached_arrays("a", ["ten"], write_ten)["ten"].tolist() == list(range(10))
    assert [path.name for path in cache.iterdir()] == ["a"]
    assert cached_arrays("a", ["ten"], refuse)["ten"].tolist() == list(range(10))


def test_a_damaged_image_leaves_nothing_in_the_cache(tmp_path: Path, cache: Path) -> None:
    write_class_folders(tmp_path, per_class=4)
    path = tmp_path / "dog" / "2.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"dog/2\.jpg"):
        sources.build("image_folder").load(tmp_path)
    assert list(cache.iterdir()) == []
    path.write_bytes(whole)
    assert len(sources.build("image_folder").load(tmp_path).train) == 6
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("harm", ["cut", "emptied", "gone", "no array", "a pickle"])
def test_a_damaged_cache_is_rebuilt_with_a_warning(harm: str, tmp_path: Path, cache: Path) -> None:
    write_class_folders(tmp_path, per_class=4)
    source = sources.build("image_folder")
    before = pairs(source.load(tmp_path).train)
    path = next(cache.glob("*/pixels.npy"))
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    elif harm == "a pickle":
        np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    else:
        path.write_bytes({"cut": content[:-1], "emptied": b"", "no array": b"x" * len(content)}[harm])
    with pytest.warns(FedsimWarning, match=r"image_folder-\w+ is damaged \(.*\) and is made again"):
        assert pairs(source.load(tmp_path).train) == before
    assert path.read_bytes() == content
    assert pairs(source.load(tmp_path).train) == before  # without a warning, which would be an error
    assert len(list(cache.iterdir())) == 1


def test_racing_threads_get_the_same_and_leave_one_folder(cache: Path) -> None:
    barrier, found, calls = threading.Barrier(8), [], []

    def make(folder: Path) -> None:
        calls.append(folder)
        barrier.wait(30)  # all of them make it at once
        np.save(folder / "ten.npy", np.arange(10))

    def race() -> None:
        found.append(cached_arrays("raced", ["ten"], make)["ten"].tolist())

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [list(range(10))] * 8
    assert len(set(calls)) == 8
    assert [path.name for path in cache.iterdir()] == ["raced"]
    assert cached_arrays("raced", ["ten"], refuse)["ten"].tolist() == list(range(10))


def race_for_a_folder(name: str, barrier: Any, answers: Any) -> None:
    barrier.wait(60)
    try:
        for number in range(20):
            write = lambda folder, number=number: np.save(folder / "x.npy", np.full(5, number))  # noqa: E731
            assert cached_arrays(f"{name}-{number}", ["x"], write)["x"].tolist() == [number] * 5
        answers.put("good")
    except BaseException as error:
        answers.put(repr(error))
        raise


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.filterwarnings("ignore::fedsim.errors.FedsimWarning")
def test_racing_processes_get_the_same_and_leave_one_folder(damaged: bool, cache: Path) -> None:
    if damaged:
        for number in range(20):
            (cache / f"raced-{number}").mkdir()
            (cache / f"raced-{number}" / "x.npy").write_bytes(b"damaged")
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(4), context.SimpleQueue()
    racers = [context.Process(target=race_for_a_folder, args=("raced", barrier, answers)) for _ in range(4)]
    for racer in racers:
        racer.start()
    assert [answers.get() for _ in racers] == ["good"] * 4
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    assert sorted(path.name for path in cache.iterdir()) == sorted(f"raced-{number}" for number in range(20))
    for number in range(20):
        assert cached_arrays(f"raced-{number}", ["x"], refuse)["x"].tolist() == [number] * 5


def test_a_part_that_vanishes_meanwhile_does_not_cost_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may rename or remove its part between the listing of the folder and the look at its age."""
    glob = Path.glob

    def glob_and_one_that_is_gone(self: Path, pattern: str) -> list[Path]:
        return [*glob(self, pattern), self / ".other.12345678.part"]

    monkeypatch.setattr(Path, "glob", glob_and_one_that_is_gone)
    assert cached_arrays("a", ["ten"], write_ten)["ten"].tolist() == list(range(10))
    assert [path.name for path in cache.iterdir()] == ["a"]


def test_what_a_killed_process_left_is_swept_after_a_day(cache: Path) -> None:
    now = time.time()
    for name, age in ((".old.aaaaaaaa.part", 25 * 3600), (".new.bbbbbbbb.part", 60), ("kept", 10**7)):
        (cache / name).mkdir()
        (cache / name / "x.npy").write_bytes(b"x")
        os.utime(cache / name, (now - age, now - age))
    cached_arrays("a", ["ten"], write_ten)
    assert sorted(path.name for path in cache.iterdir()) == [".new.bbbbbbbb.part", "a", "kept"]


def test_a_clock_that_jumps_removes_no_part_that_is_being_filled(cache: Path) -> None:
    def slowly(folder: Path) -> None:
        os.utime(folder, (0, 0))  # as it looks to a process whose clock is years ahead
        cached_arrays("b", ["ten"], write_ten)
        write_ten(folder)

    assert cached_arrays("a", ["ten"], slowly)["ten"].tolist() == list(range(10))
    assert sorted(path.name for path in cache.iterdir()) == ["a", "b"]
    assert [path.name for path in (cache / "a").iterdir()] == ["ten.npy"]


def test_what_a_killed_process_was_filling_is_swept_after_a_day(cache: Path) -> None:
    def killed(folder: Path) -> None:
        os.utime(folder, (0, 0))
        os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if not pid:
        cached_arrays("a", ["ten"], killed)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert [path.suffix for path in cache.iterdir()] == [".part"]
    cached_arrays("b", ["ten"], write_ten)
    assert [path.name for path in cache.iterdir()] == ["b"]


def test_a_part_that_is_swept_before_it_is_locked_is_made_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[Path] = []
    flock = fcntl.flock

    def after_the_sweep(descriptor: int, flags: int) -> None:
        if not swept:
            swept.extend(cache.glob(".*.part"))
            shutil.rmtree(swept[0])
        flock(descriptor, flags)

    monkeypatch.setattr(fcntl, "flock", after_the_sweep)
    assert cached_arrays("a", ["ten"], write_ten)["ten"].tolist() == list(range(10))
    assert [path.name for path in cache.iterdir()] == ["a"]


def test_a_file_system_without_locks_has_a_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(descriptor: int, flags: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    (cache / ".other.aaaaaaaa.part").mkdir()
    os.utime(cache / ".other.aaaaaaaa.part", (0, 0))
    assert cached_arrays("a", ["ten"], write_ten)["ten"].tolist() == list(range(10))
    assert sorted(path.name for path in cache.iterdir()) == [".other.aaaaaaaa.part", "a"]  # it may be in use


@pytest.mark.parametrize("where", ["below a file", "below /proc"])
def test_an_impossible_cache_folder_still_works(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    impossible = {
        "below a file": tmp_path / "file" / "cache",
        "below /proc": Path("/proc/none/cache"),
    }
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setenv("FEDSIM_CACHE", str(impossible[where]))
    for _ in range(2):
        with pytest.warns(FedsimWarning, match=r"the cache .* cannot be written .*; data are decoded into .*scratch"):
            array = cached_arrays("a", ["ten"], write_ten)["ten"]
        assert array.tolist() == list(range(10))
        assert len(list(scratch.iterdir())) == 1
        del array
        assert list(scratch.iterdir()) == []  # the last one that used it is gone


@pytest.mark.parametrize("mode", [0o500, 0o000], ids=["read-only", "closed"])
def test_a_cache_folder_of_someone_else_still_works(mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # not pytest's, which only its own user may enter
        cache = Path(folder) / "cache"
        cache.mkdir()
        cache.chmod(mode)
        Path(folder).chmod(0o755)
        monkeypatch.setenv("FEDSIM_CACHE", str(cache))
        with another_user():
            assert not os.access(cache, os.W_OK, effective_ids=True)
            with pytest.warns(FedsimWarning, match=f"the cache {cache} cannot be written"):
                assert cached_arrays("a", ["ten"], write_ten)["ten"].tolist() == list(range(10))
        assert list(cache.iterdir()) == []


def test_a_read_only_file_system_still_works(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = Path.mkdir

    def read_only(self: Path, *arguments: Any, **keywords: Any) -> None:
        if cache in self.parents:
            raise OSError(errno.EROFS, "Read-only file system", str(self))
        mkdir(self, *arguments, **keywords)

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.warns(FedsimWarning, match="Read-only file system"):
        assert cached_arrays("a", ["ten"], write_ten)["ten"].tolist() == list(range(10))
    assert list(cache.iterdir()) == []


def test_a_full_disk_is_reported_with_the_folder(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_class_folders(tmp_path, per_class=2)
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", disk_full)
        with pytest.raises(ConfigError) as raised:
            sources.build("image_folder").load(tmp_path)
    assert str(cache) in str(raised.value)
    assert "No space left on device" in str(raised.value)
    assert "FEDSIM_CACHE" in str(raised.value)
    assert raised.value.key == "root"
    assert list(cache.iterdir()) == []
    assert len(sources.build("image_folder").load(tmp_path).train) == 2


@small_sets_may_warn
def test_a_disk_that_is_full_when_arrays_are_saved_is_reported(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cifar10(tmp_path, per_batch=2)
    monkeypatch.setattr(np, "save", disk_full)
    with pytest.raises(ConfigError, match=f"{cache}: No space left on device; make room"):
        sources.build("cifar10", verify=False).load(tmp_path)
    assert list(cache.iterdir()) == []


def test_a_reserved_array_has_its_room_on_disk(tmp_path: Path) -> None:
    array = reserve_array(tmp_path / "x.npy", (3, 1_000_000))
    assert (tmp_path / "x.npy").stat().st_blocks * 512 >= 3_000_000
    assert isinstance(array, np.memmap)
    array[2, 5] = 7
    array.flush()
    assert np.load(tmp_path / "x.npy")[2, 5] == 7
    assert np.load(tmp_path / "x.npy").shape == (3, 1_000_000)


def test_the_cache_lies_where_the_user_or_the_system_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == Path(os.environ["FEDSIM_CACHE"])
    monkeypatch.setenv("HOME", str(tmp_path))
    for unset in (lambda: monkeypatch.setenv("FEDSIM_CACHE", ""), lambda: monkeypatch.delenv("FEDSIM_CACHE")):
        unset()
        monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
        assert cache_folder() == Path("/somewhere/fedsim")
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert cache_folder() == tmp_path / ".cache" / "fedsim"


def test_an_empty_xdg_cache_home_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The XDG specification: "if $XDG_CACHE_HOME is either not set or empty"; else ./fedsim would be the cache."""
    monkeypatch.delenv("FEDSIM_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == tmp_path / ".cache" / "fedsim"
