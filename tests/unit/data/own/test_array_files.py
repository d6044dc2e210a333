"""Files of arrays, in each format, whole and damaged."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fedsim.data.own.array_files import find_array_files, open_arrays
from fedsim.errors import ConfigError
from support.data_checks import cut_short
from support.own_data import write_npy, write_npz

X, Y = np.arange(12.0).reshape(4, 3), np.array([0, 1, 1, 0])


def contents(root: Path) -> dict[str, Any]:
    return {name: read().tolist() for name, read in open_arrays(root, find_array_files(root)).items()}


def test_every_format_gives_the_same_arrays(tmp_path: Path) -> None:
    tensors = {"x": torch.from_numpy(X), "y": torch.from_numpy(Y)}
    write_npy(tmp_path / "npy", x=X, y=Y)
    write_npz(tmp_path / "npz" / "data.npz", x=X, y=Y)
    for name in ("safetensors", "pt", "tuple", "bare"):
        (tmp_path / name).mkdir()
    save_file(tensors, tmp_path / "safetensors" / "data.safetensors")
    torch.save({**tensors, "epoch": 3}, tmp_path / "pt" / "data.pt")
    torch.save(tuple(tensors.values()), tmp_path / "tuple" / "data.pth")
    for name, tensor in tensors.items():
        torch.save(tensor, tmp_path / "bare" / f"{name}.pt")
    for folder in tmp_path.iterdir():
        assert contents(folder) == {"x": X.tolist(), "y": Y.tolist()}, folder
    assert contents(tmp_path / "npz" / "data.npz") == {"x": X.tolist(), "y": Y.tolist()}


def test_other_types_of_torch_are_read(tmp_path: Path) -> None:
    half = torch.tensor([[0.5, 1.0]], dtype=torch.bfloat16)
    torch.save({"x": half.requires_grad_(), "y": ["cat"]}, tmp_path / "data.pt")
    assert contents(tmp_path) == {"x": [[0.5, 1.0]], "y": ["cat"]}
    save_file({"x": half.detach()}, tmp_path / "other.safetensors")
    assert contents(tmp_path / "other.safetensors") == {"x": [[0.5, 1.0]]}


def test_sides_are_files_or_folders(tmp_path: Path) -> None:
    write_npz(tmp_path / "files" / "train.npz", x=X, y=Y)
    write_npz(tmp_path / "files" / "test.npz", x=X, y=Y)
    write_npy(tmp_path / "folders" / "train", x=X, y=Y)
    write_npy(tmp_path / "folders" / "test", x=X, y=Y)
    write_npy(tmp_path / "folders" / "drafts", z=X)
    (tmp_path / "folders" / ".x.npy").write_bytes(b"hidden")
    (tmp_path / "folders" / "readme.txt").write_text("no array")
    for folder in ("files", "folders"):
        assert sorted(contents(tmp_path / folder)) == ["test_x", "test_y", "train_x", "train_y"]


class Harmful:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (f"{self._folder}/unpickled",)


def write_damaged(folder: Path, kind: str) -> None:
    harmful = Harmful(folder)
    objects = np.array([harmful, None], dtype=object)
    if kind == "objects.npy":
        np.save(folder / "x.npy", objects, allow_pickle=True)
    elif kind == "objects.npz":
        np.savez(folder / "x.npz", x=objects, y=Y)
    elif kind == "objects.pt":
        torch.save({"x": harmful}, folder / "x.pt")
    elif kind == "pickle.npy":
        (folder / "x.npy").write_bytes(pickle.dumps(harmful))
    elif kind.startswith("cut"):
        whole = folder / f"x{Path(kind).suffix}"
        if kind.endswith("npy"):
            np.save(whole, X)
        elif kind.endswith("npz"):
            np.savez(whole, x=X, y=Y)
        elif kind.endswith("safetensors"):
            save_file({"x": torch.from_numpy(X)}, whole)
        else:
            torch.save({"x": torch.from_numpy(X)}, whole)
        whole.write_bytes(cut_short(whole.read_bytes()))
    else:
        (folder / f"x{Path(kind).suffix}").write_bytes(b"" if kind.startswith("empty") else b"what is this? " * 30)


@pytest.mark.parametrize(
    "kind",
    ["objects.npy", "objects.npz", "objects.pt", "pickle.npy"]
    + [f"{how}.{suffix}" for how in ("cut", "empty", "text") for suffix in ("npy", "npz", "safetensors", "pt")],
)
def test_damaged_files_are_named_and_nothing_is_unpickled(kind: str, tmp_path: Path) -> None:
    write_damaged(tmp_path, kind)
    with pytest.raises(ConfigError, match=r"cannot read .*/x\.(npy|npz|safetensors|pt): \w+") as caught:
        contents(tmp_path)
    assert caught.value.key == "root"
    if kind.startswith("objects"):
        assert "Python objects" in caught.value.problem
    assert not (tmp_path / "unpickled").exists()


def test_where_there_is_no_array_the_message_says_what_to_put_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no file of arrays in .*npy, .npz.*put x.npy and y.npy"):
        find_array_files(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ConfigError, match=r"notes.txt is no file of arrays"):
        find_array_files(tmp_path / "notes.txt")


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", x=X, y=Y)
    write_npz(tmp_path / "b.npz", x=X, y=Y)
    with pytest.raises(ConfigError, match=r"both .*a.npz and .*b.npz hold an array x"):
        contents(tmp_path)
