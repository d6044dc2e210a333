"""Shared memory: other processes see the same numbers, it has no name, and nobody maps another file by mistake."""

import multiprocessing
import os
from pathlib import Path

import pytest

from fedsim.comm import shared_memory
from fedsim.comm.shared_memory import map_file, reserved_file


def double(address: str) -> None:
    matrix = map_file(address, 2, 3)
    assert matrix is not None
    matrix.mul_(2)


def test_another_process_maps_the_same_numbers_and_there_is_no_name() -> None:
    before = set(os.listdir("/dev/shm"))
    with reserved_file(6) as address:
        assert not {name for name in set(os.listdir("/dev/shm")) - before if name.startswith("fedsim")}
        matrix = map_file(address, 2, 3)
        assert matrix is not None
        matrix.copy_(matrix.new_tensor([[1, 2, 3], [4, 5, 6]]))
        other = multiprocessing.get_context("fork").Process(target=double, args=(address,))
        other.start()
        other.join()
        assert other.exitcode == 0
    assert matrix.tolist() == [[2, 4, 6], [8, 10, 12]]
    assert map_file(address, 2, 3) is None  # whoever comes later


def test_a_path_that_leads_to_another_file_is_not_mapped(tmp_path: Path) -> None:
    """As in a container where another process has the number of rank 0."""
    with reserved_file(6) as address, (tmp_path / "other").open("wb+") as other:
        path, identity = address.split()
        folder = Path(path).parent
        assert map_file(f"{folder}/{other.fileno()} {identity}", 2, 3) is None
        assert map_file(f"/proc/0/fd/0 {identity}", 2, 3) is None
        assert (tmp_path / "other").stat().st_size == 0


def test_without_room_or_without_shared_memory_there_is_no_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reserved_file(1 << 50) as address:
        assert address == ""
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path / "missing")
    with reserved_file(6) as address:
        assert address == ""


def test_only_the_user_may_map_it() -> None:
    with reserved_file(6) as address:
        assert os.stat(address.split()[0]).st_mode & 0o777 == 0o600
