"""Where the cache cannot be written or read: a folder that all processes of a user on a machine share."""

import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedsim.data.storage.cache import cached_arrays
from fedsim.data.storage.temporary_cache import join_temporary_cache
from fedsim.errors import ConfigError, FedsimWarning
from support.data_checks import refuse
from support.users import another_user


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary files; there is no cache that can be written."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("FEDSIM_CACHE", "/proc/nowhere")
    yield folder
    assert list(folder.iterdir()) == []  # nothing stays


def seven(folder: Path) -> None:
    np.save(folder / "x.npy", np.full(3, 7))


pytestmark = pytest.mark.filterwarnings("ignore:the cache /proc/nowhere cannot be written")


def test_it_is_filled_once_while_somebody_uses_it(scratch: Path) -> None:
    first = cached_arrays("a", ["x"], seven)
    second = cached_arrays("a", ["x"], refuse)
    del first
    third = cached_arrays("a", ["x"], refuse)
    assert second["x"].tolist() == third["x"].tolist() == [7, 7, 7]
    assert [path.name.startswith("fedsim-") for path in scratch.iterdir()] == [True]


def test_what_is_mapped_stays_when_the_folder_goes(scratch: Path) -> None:
    tensor = torch.from_numpy(cached_arrays("a", ["x"], seven)["x"])
    (folder,) = scratch.iterdir()
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
    assert tensor.tolist() == [7, 7, 7]


def use(started: Any, finish: Any, answers: Any) -> None:
    arrays = cached_arrays("a", ["x"], refuse)
    answers.put(arrays["x"].tolist())
    started.set()
    finish.wait(60)
    del arrays
    answers.put("left")


def test_processes_share_it_and_the_last_one_removes_it(scratch: Path) -> None:
    context = multiprocessing.get_context("fork")
    started, finish, answers = context.Event(), context.Event(), context.SimpleQueue()
    arrays = cached_arrays("a", ["x"], seven)
    process = context.Process(target=use, args=(started, finish, answers))
    process.start()
    assert started.wait(60)
    assert answers.get() == [7, 7, 7]
    del arrays
    assert len(list(scratch.iterdir())) == 1  # the other one is still there
    finish.set()
    assert answers.get() == "left"
    process.join(60)


def test_a_failure_leaves_nothing(scratch: Path) -> None:
    def fail(folder: Path) -> None:
        seven(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(ConfigError, match=f"cannot write a to {scratch}.*No space left on device"):
        cached_arrays("a", ["x"], fail)


def test_what_a_killed_process_left_is_used(scratch: Path) -> None:
    killed = join_temporary_cache()
    (killed.folder / "a").mkdir()
    seven(killed.folder / "a")
    os.close(killed._descriptor)
    assert cached_arrays("a", ["x"], refuse)["x"].tolist() == [7, 7, 7]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who can give files to others")
def test_a_folder_that_somebody_else_has_put_there_is_not_used(scratch: Path) -> None:
    usual = join_temporary_cache()
    folder = usual.folder
    usual.leave()
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    arrays = cached_arrays("a", ["x"], seven)
    assert list(folder.iterdir()) == []
    del arrays
    folder.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who can be two users")
def test_another_users_private_folder_is_not_a_damaged_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # not pytest's, which only its own user may enter
        Path(place).chmod(0o777)
        monkeypatch.setenv("FEDSIM_CACHE", place)
        assert cached_arrays("a", ["x"], seven)["x"].tolist() == [7, 7, 7]
        (Path(place) / "a").chmod(0o700)
        with another_user(), pytest.warns(FedsimWarning) as caught:
            assert cached_arrays("a", ["x"], seven)["x"].tolist() == [7, 7, 7]
        (text,) = (str(warning.message) for warning in caught)
        assert (
            f"{place}/a in the cache cannot be read, for it belongs to the user root; data are decoded into" in text
        )
        assert "damaged" not in text
        assert np.load(Path(place) / "a" / "x.npy").tolist() == [7, 7, 7]
