"""Files of arrays: npy, npz, safetensors and pt, read without unpickling anything."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedsim.data.images.walk import is_hidden, subfolders
from fedsim.data.own.array_names import side_of
from fedsim.errors import ConfigError
from fedsim.files import open_file, readable_path

ReadArray = Callable[[], NDArray[Any]]

ArraysByName = Mapping[str, ReadArray]

OBJECTS = "it holds Python objects, which are not unpickled"

REPAIR = "save plain numbers or text: np.savez('data.npz', x=x, y=y) or torch.save({'x': x, 'y': y}, 'data.pt')"


def find_array_files(root: Path) -> list[Path]:
    """The files of arrays in a folder and in its folders ``train``, ``test`` and the like; or the one file.

    Raises:
        ConfigError: there is none, or the folder cannot be read.
    """
    if root.suffix.lower() == ".npy" and root.is_file():
        remedy = f"name the folder that holds x.npy and y.npy, for example data.root={root.parent}"
        raise ConfigError("root", f"{root} is a single array", remedy)
    if root.is_file():
        found = [root]
    else:
        try:
            folders = [root, *(folder for folder in subfolders(root) if side_of(folder.name))]
            found = [path for folder in folders for path in sorted(folder.iterdir())]
        except OSError as error:
            raise ConfigError("root", f"cannot read {root}: {error.strerror}", "make it readable") from None
    files = [path for path in found if _is_array_file(path)]
    if not files:
        kinds = ", ".join(_OPENERS)
        where = f"{root} is no file of arrays" if root.is_file() else f"there is no file of arrays in {root}"
        raise ConfigError("root", f"{where} ({kinds})", "put x.npy and y.npy, or data.npz with x and y, there")
    return files


def _is_array_file(path: Path) -> bool:
    return path.suffix.lower() in _OPENERS and not is_hidden(path.name) and path.is_file()


def open_arrays(root: Path, files: list[Path]) -> ArraysByName:
    """All arrays of the files by name; each is read when it is called.

    An array of an ``.npy`` file is called like the file, one of another file by its key, behind the name of the file
    or folder where that is ``train``, ``test`` or the like.

    Raises:
        ConfigError: a file is damaged or holds more than arrays, or two arrays have the same name.
    """
    arrays: dict[str, ReadArray] = {}
    origin: dict[str, Path] = {}
    for path in files:
        folder = path.parent.name if path.parent != root and not root.is_file() else ""
        with _naming(path):
            content = _OPENERS[path.suffix.lower()](path)
        for key, read in content.items():
            prefix = [path.stem] if key and side_of(path.stem) else []
            name = "_".join(filter(None, [folder, *prefix, key or path.stem]))
            if name in arrays:
                problem = f"both {origin[name]} and {path} hold an array {name}"
                remedy = "remove one of the files, or name one file; to train and to test: train and test"
                raise ConfigError("root", problem, remedy)
            arrays[name], origin[name] = partial(_read, path, read), path
    return arrays


def _read(path: Path, read: ReadArray) -> NDArray[Any]:
    with _naming(path):
        return read()


def _open_npy(path: Path) -> ArraysByName:
    return {"": lambda: np.lib.format.open_memmap(path, mode="r")}


def _open_npz(path: Path) -> ArraysByName:
    def read(key: str) -> NDArray[Any]:
        with np.load(path, allow_pickle=False) as archive:
            return archive[key]

    if not is_zipfile(path):
        raise ValueError("it is no archive")
    with np.load(path, allow_pickle=False) as archive:
        return {key: partial(read, key) for key in archive.files}


def _open_safetensors(path: Path) -> ArraysByName:
    from safetensors import safe_open

    def read(key: str) -> NDArray[Any]:
        with readable_path(path) as readable, safe_open(readable, framework="pt") as archive:
            return _as_array(archive.get_tensor(key))

    with readable_path(path) as readable, safe_open(readable, framework="pt") as archive:
        return {key: partial(read, key) for key in archive.keys()}  # noqa: SIM118 - it is no mapping


def _open_pt(path: Path) -> ArraysByName:
    with open_file(path) as file:
        content = torch.load(file, map_location="cpu", weights_only=True)
    if isinstance(content, Tensor):
        content = {"": content}
    if isinstance(content, list | tuple) and len(content) >= 2:  # as torchvision keeps MNIST
        content = {"x": content[0], "y": content[1]}
    if not isinstance(content, dict):
        raise ConfigError("root", f"{path} holds neither a tensor, nor (x, y), nor a dictionary of tensors", REPAIR)
    arrays = {key: value for key, value in content.items() if isinstance(value, Tensor | list | tuple)}
    return {str(key): partial(_as_array, value) for key, value in arrays.items()}


_OPENERS: Mapping[str, Callable[[Path], ArraysByName]] = {
    ".npy": _open_npy,
    ".npz": _open_npz,
    ".safetensors": _open_safetensors,
    ".pt": _open_pt,
    ".pth": _open_pt,
}


def _as_array(value: Any) -> NDArray[Any]:
    if not isinstance(value, Tensor):
        return np.array(value)
    value = value.detach()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Whatever goes wrong with the file in the block becomes a ConfigError that names it."""
    try:
        open_file(path).close()  # else a FIFO would be waited for
        yield
    except ConfigError:
        raise
    except Exception as error:  # readers of damaged files raise nearly everything
        raise ConfigError("root", f"cannot read {path}: {_reason(path, error)}", REPAIR) from None


def _reason(path: Path, error: Exception) -> str:
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if re.search("Python objects|Object arrays", text) or (isinstance(error, UnpicklingError) and is_zipfile(path)):
        return OBJECTS
    detail = text.split(". ")[0].splitlines()[:1]
    why = f" ({detail[0].rstrip('.')})" if detail and not isinstance(error, UnpicklingError) else ""
    return f"it is no usable {path.suffix} file, or only a part of one{why}"
