"""Checkpoints: one safetensors file each, written whole or not at all, read without pickle."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fedsim.errors import CheckpointError

FORMAT = "fedsim-1"


def pack(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """A state tree as JSON values plus named tensors.

    >>> tree, tensors = pack({"momentum": None, 3: [1.5, "x"]})
    >>> unpack(tree, tensors)
    {'momentum': None, 3: [1.5, 'x']}
    """
    tensors: dict[str, Tensor] = {}

    def walk(value: Any) -> Any:
        if isinstance(value, Tensor):
            name = str(len(tensors))
            tensors[name] = value.detach().cpu().contiguous().clone()
            return {"tensor": name}
        if isinstance(value, Mapping):
            return {"items": [[walk(key), walk(item)] for key, item in value.items()]}
        if isinstance(value, list | tuple):
            return {"tuple" if isinstance(value, tuple) else "list": [walk(item) for item in value]}
        if value is None or isinstance(value, str | int | float | bool):
            return value
        raise CheckpointError(f"a state holds {type(value).__name__}, which no checkpoint can store")

    return walk(state), tensors


def unpack(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The state tree that :meth:`pack` took apart."""
    if not isinstance(tree, dict):
        return tree
    (kind, content), *_ = tree.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "items":
        return {unpack(key, tensors): unpack(item, tensors) for key, item in content}
    items = [unpack(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items


class CheckpointKeeper(Protocol):
    """Stores the state of a run."""

    def save(self, round: int, state: Mapping[str, Any]) -> None:
        """Store the state after ``round`` rounds."""


class NoCheckpoints:
    """Every rank but 0: stores nothing."""

    def save(self, round: int, state: Mapping[str, Any]) -> None:
        pass


class Checkpoints:
    """The checkpoints of one run, the newest ``keep`` of them."""

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder, self._keep = folder, keep

    def save(self, round: int, state: Mapping[str, Any]) -> None:
        """Store the state after ``round`` rounds; older checkpoints beyond ``keep`` go."""
        self._folder.mkdir(parents=True, exist_ok=True)
        tree, tensors = pack(state)
        path = self._folder / f"round_{round:06d}.safetensors"
        part = path.with_suffix(".part")
        save_file(tensors, part, metadata={"format": FORMAT, "round": str(round), "state": json.dumps(tree)})
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
        for _, old in self._stored()[: -self._keep]:
            old.unlink()

    def load_newest(self) -> tuple[int, dict[str, Any]] | None:
        """Round and state of the newest checkpoint; None if there is none.

        Raises:
            CheckpointError: the file is damaged or not a checkpoint of fedsim.
        """
        stored = self._stored()
        if not stored:
            return None
        round, path = stored[-1]
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            if metadata.get("format") != FORMAT:
                raise CheckpointError(f"{path} is not a checkpoint of this version ({FORMAT})")
            return round, unpack(json.loads(metadata["state"]), tensors)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged ({error}); remove it to resume from the one before") from None

    def _stored(self) -> list[tuple[int, Path]]:
        found = [(re.fullmatch(r"round_(\d+)\.safetensors", path.name), path) for path in self._folder.glob("*")]
        return sorted((int(match[1]), path) for match, path in found if match)
