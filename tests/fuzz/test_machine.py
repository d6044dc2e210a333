"""Faults of machines: a disk that is full at any write, hardly any descriptors, no shared memory, no home."""

import ctypes
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedsim.main import main
from fuzz.children import run_in_child, start_ranks
from fuzz.half_run import Outcome, arguments, same_state
from fuzz.oracle import call, mistakes
from fuzz.resumed import Runs
from fuzz.tally import Tally
from support.launch import MAIN, clean_environment, skip_or_fail
from support.runs import final_state

BLOCK = 4096
DISK = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", str(disk)], check=False).returncode:
        skip_or_fail("this user may not mount")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


ROOMS = range(2, 40)
"""Blocks that are free: of these the run needs one for each file and folder, and some more for the longer ones."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rooms", [ROOMS[::6], pytest.param(ROOMS, marks=pytest.mark.slow)], ids=["some", "each"])
def test_a_disk_that_is_full_at_any_write(small_disk: Path, runs: Runs, rooms: range) -> None:
    tally = Tally("full disks")
    for room in rooms:
        folder, other = small_disk / str(room), small_disk / "other"
        statistics = os.statvfs(small_disk)
        with other.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, (statistics.f_bavail - room) * statistics.f_bsize)
        ended = call(arguments(folder)).without(folder)
        found = mistakes(ended, 5, statuses=(0, 1, 2))
        if ended.status and "No space left on device" not in ended.err:
            found.append("what is wrong is not said")
        other.unlink()
        again = call([*arguments(folder), "--resume-or-start"]).without(folder)
        found += mistakes(again, 5, statuses=(0,)) or _as_expected(folder, runs)
        tally.add(
            "full" if ended.status else "enough", found, f"{room} blocks: {ended.err[-200:]} {again.err[-200:]}"
        )
        subprocess.run(["rm", "-r", str(folder)], check=True)
    tally.require_clean()


def _as_expected(folder: Path, runs: Runs) -> list[str]:
    directory = max(path for path in folder.glob("run*") if (path / "summary.json").exists())
    outcome = Outcome.of(directory)
    same = same_state(outcome.state, runs.expected.state) and outcome.records == runs.expected.records
    return [] if same else ["other results after there was room again"]


def allow_few_descriptors() -> None:
    """64, beside those that this process has inherited from the one that runs the tests, which may have many."""
    inherited = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (inherited + 64, inherited + 64))


@pytest.mark.parametrize("free", [2, 5, 24])
def test_hardly_any_descriptors_are_left(tmp_path: Path, runs: Runs, free: int) -> None:
    def nearly_all_held() -> None:
        allow_few_descriptors()
        held = []
        while True:
            try:
                held.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        for descriptor in held[:free]:
            os.close(descriptor)

    status, said = run_in_child(arguments(tmp_path), tmp_path / "terminal.txt", nearly_all_held)
    if status:
        assert "no more files can be opened" in said
        assert "ulimit -n" in said
        assert "Error" not in said
    assert status == 1 if free == 2 else status == 0 if free == 24 else status in (0, 1), said
    assert call([*arguments(tmp_path), "--resume-or-start"]).status == 0
    assert _as_expected(tmp_path, runs) == []


def small_shared_memory() -> None:
    """16 kB of it, a home that is read-only, and 64 descriptors, for this process and its children."""
    if ctypes.CDLL(None).unshare(CLONE_NEWNS):
        raise OSError("no namespace of its own")
    for words in (
        ["--make-rprivate", "/"],
        ["-t", "tmpfs", "-o", "size=16k", "none", "/dev/shm"],
        ["-t", "tmpfs", "-o", "ro", "none", "/mnt"],
    ):
        subprocess.run(["mount", *words], check=True)
    os.environ["HOME"] = "/mnt"
    allow_few_descriptors()


CLONE_NEWNS = 0x20000


def mounts_or_skips() -> None:
    if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], check=False).returncode:
        skip_or_fail("this user may not mount")


def test_rows_that_shared_memory_does_not_hold_go_point_to_point(tmp_path: Path) -> None:
    mounts_or_skips()
    larger = ["data.shape=[1, 8, 8]", "model.hidden=[64]"]
    assert call([*arguments(tmp_path / "roomy", 2), *larger]).status == 0
    terminal = tmp_path / "terminal.txt"

    def two_ranks(words: list[str]) -> int:
        return max(rank.wait() for rank in start_ranks(words, 2, terminal))

    status, said = run_in_child([*arguments(tmp_path, 2), *larger], terminal, small_shared_memory, two_ranks)
    assert status == 0, said
    assert said.count("fedsim: no room for 3 x ") == 1
    expected, outcome = Outcome.of(tmp_path / "roomy" / "run", 2), Outcome.of(tmp_path / "run", 2)
    assert same_state(outcome.state, expected.state)
    assert outcome.records == expected.records


POOR = """
mount -t tmpfs -o ro,size=64k none "$1"
mount -t tmpfs -o size=16k none /dev/shm
ulimit -n 64
export HOME="$1" LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0
unset FEDSIM_CACHE XDG_CACHE_HOME MPLCONFIGDIR
shift
exec "$@"
"""
"""A home that is read-only, shared memory of 16 kB, few descriptors, and a locale without letters beyond ASCII."""


@pytest.mark.slow
def test_two_ranks_on_a_poor_machine_have_the_same_results(tmp_path: Path) -> None:
    mounts_or_skips()
    home = tmp_path / "home"
    home.mkdir()
    words = ["clients.count=3", "clients.local_steps=1", "attack.num_byzantine=1", "rounds=1", "run_name=run"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(MAIN)]
    done = subprocess.run(
        ["unshare", "-m", "bash", "-ec", POOR, "poor", str(home), *launcher, *words, f"output_dir={tmp_path}/öde"],
        capture_output=True,
        timeout=120,
        env=clean_environment(),
        check=False,
    )
    err = done.stderr.decode("utf-8", "replace")
    assert done.returncode == 0, err
    assert err.count("in shared memory that all ranks can map: rows go point to point") == 1
    assert err.count("home/.cache/fedsim cannot be written (Read-only file system)") == 1
    assert "Traceback" not in err
    assert main([*words, f"output_dir={tmp_path}/rich"]) == 0
    assert same_state(final_state(tmp_path / "öde" / "run", 1), final_state(tmp_path / "rich" / "run", 1))
    assert json.loads((tmp_path / "öde" / "run" / "summary.json").read_text())["status"] == "completed"
