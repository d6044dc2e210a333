"""NPZ archives, read by rows."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsim.data.formats.npz import stored_array
from fedsim.errors import ConfigError
from support.published_images import random_images


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("at_once", [1, 3, 7, 50])
def test_rows_are_those_that_numpy_reads(save: Any, at_once: int, tmp_path: Path) -> None:
    arrays = {"images": random_images(7, 4, 5, 3), "labels": np.arange(7)[:, None], "none": np.empty((0, 3))}
    save(tmp_path / "a.npz", **arrays)
    with np.load(tmp_path / "a.npz") as theirs:
        for name in arrays:
            ours = stored_array(tmp_path / "a.npz", name, "")
            assert (ours.shape, ours.dtype) == (theirs[name].shape, theirs[name].dtype)
            assert np.array_equal(ours.read(), theirs[name])
            blocks = list(ours.blocks(at_once))
            assert [len(block) for block in blocks[:-1]] == [at_once] * max(0, len(blocks) - 1)
            assert np.array_equal(np.concatenate([theirs[name][:0], *blocks]), theirs[name])


def npy(array: Any, **keywords: Any) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array), **keywords)
    return buffer.getvalue()


class Loud:
    """Says that it was unpickled."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("unpickled",)


WHOLE = npy(random_images(6, 4))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (npy(np.array([Loud()], dtype=object), allow_pickle=True), "holds pickled objects, which are never read"),
        (pickle.dumps(Loud()), "magic"),
        (b"", "EOF"),
        (WHOLE[:-3], "'a' is cut off"),
        (WHOLE + b"more", "'a' goes on after its 6 rows"),
        (WHOLE[:6] + b"\x09\x00" + WHOLE[8:], "an unknown version of the format"),
        (npy(np.float64(3)), "'a' is a single number"),
        (npy(np.asfortranarray(random_images(3, 4))), "stored by columns"),
        (WHOLE[:10] + b"{'descr': __import__('os')}" + WHOLE[37:], "'a' has a damaged header"),
    ],
)
def test_a_damaged_array_is_named_and_never_unpickled(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(ConfigError, match="is not usable") as raised:
        stored_array(path, "a", "fetch it again").read()
    assert says in raised.value.problem
    assert (raised.value.key, raised.value.remedy) == ("root", "fetch it again")


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=random_images(50, 40))
    whole = path.read_bytes()
    with pytest.raises(ConfigError, match="it holds no 'labels'"):
        stored_array(path, "labels", "")
    for content in (whole[: len(whole) // 2], b"", b"<html>", npy(random_images(3, 4))):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=str(path)):
            stored_array(path, "images", "").read()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :])
    with pytest.raises(ConfigError, match=str(path)):
        stored_array(path, "images", "").read()
    with pytest.raises(ConfigError, match=r"not usable: No such file"):
        stored_array(tmp_path / "missing.npz", "images", "")
