"""Checkpoints: one safetensors file each, written whole or not at all, read without pickle."""

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fedsim.errors import CheckpointError, ConfigError
from fedsim.files import readable_path, remove_parts, whole_or_not_at_all
from fedsim.run_directory.damage import DAMAGED, FOREIGN, put_aside

log = logging.getLogger(__name__)

FORMAT = "fedsim-4"

HEADER = "header"
"""The key of the digest of all others."""

READABLE = (FORMAT, "fedsim-3")
"""Forms that are resumed from; in fedsim-3 tensors are numbered, and the global model is one of them."""


def pack(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """A state tree as JSON values plus tensors, each named by its place in the tree.

    >>> tree, tensors = pack({"momentum": None, 3: [1.5, torch.ones(1)]})
    >>> tensors
    {'3.1': tensor([1.])}
    >>> unpack(tree, tensors)
    {'momentum': None, 3: [1.5, tensor([1.])]}
    """
    tensors: dict[str, Tensor] = {}

    def walk(value: Any, place: str = "") -> Any:
        if isinstance(value, Tensor):
            name = place
            while name in tensors:  # as for the keys 1 and "1"
                name += "'"
            tensors[name] = value.detach().cpu().contiguous().clone()
            return {"tensor": name}
        if isinstance(value, Mapping):
            return {"items": [[walk(key), walk(item, below(place, key))] for key, item in value.items()]}
        if isinstance(value, list | tuple):
            items = [walk(item, below(place, position)) for position, item in enumerate(value)]
            return {"tuple" if isinstance(value, tuple) else "list": items}
        if value is None or isinstance(value, str | int | float | bool):
            return value
        raise CheckpointError(f"a state holds {type(value).__name__}, which no checkpoint can store")

    def below(place: str, key: object) -> str:
        return f"{place}.{key}" if place else str(key)

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


def on_device(state: Any, device: torch.device) -> Any:
    """A state tree with its tensors on ``device``.

    >>> on_device({"m": [torch.zeros(1), None]}, torch.device("cpu"))
    {'m': [tensor([0.]), None]}
    """
    if isinstance(state, Tensor):
        return state.to(device)
    if isinstance(state, Mapping):
        return {key: on_device(item, device) for key, item in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(on_device(item, device) for item in state)
    return state


class CheckpointKeeper(Protocol):
    """Stores the state of a run."""

    def save(self, round_number: int, state: Mapping[str, Any], records: Mapping[str, Any]) -> None:
        """Store the state after ``round`` rounds, and what the records are so far."""


class NoCheckpoints:
    """Every rank but 0: stores nothing."""

    def save(self, round_number: int, state: Mapping[str, Any], records: Mapping[str, Any]) -> None:
        pass

    def load_newest(self) -> tuple[int, dict[str, Any]] | None:
        """None: rank 0 has them."""
        return None


@dataclass(frozen=True)
class Origin:
    """What the checkpoints of a run belong to.

    Attributes:
        run: its id; empty for a run that is older than these ids.
        results: digest of what its results depend on.
        frozen: digest of the parameters that are not in a checkpoint because they never change.
    """

    run: str = ""
    results: str = ""
    frozen: str = ""


OTHER_SETTINGS = "was made with other settings or data"


class _UnfitError(Exception):
    """A checkpoint is whole, but not one of this run and this round."""


class _OtherSettingsError(_UnfitError):
    """It is one of this run, as it was before its settings or data were changed."""


class Checkpoints:
    """The checkpoints of one run, the newest ``keep`` of them."""

    def __init__(self, folder: Path, keep: int, origin: Origin | None = None) -> None:
        self._folder, self._keep, self._origin = folder, keep, origin or Origin()

    def save(self, round_number: int, state: Mapping[str, Any], records: Mapping[str, Any] | None = None) -> None:
        """Store the state after ``round`` rounds; older checkpoints beyond ``keep`` go.

        Args:
            records: what the records are so far, as JSON values; it is no part of the checksum, which is therefore
                the same in two runs of one configuration.

        Raises:
            CheckpointError: it cannot be written; those that were there are untouched.
        """
        tree, tensors = pack(state)
        try:
            self._write(round_number, tree, tensors, records or {})
        except (OSError, SafetensorError) as error:
            remedy = "make room, then --resume continues from the one before"
            raise CheckpointError(f"cannot write a checkpoint to {self._folder}: {error}; {remedy}") from error

    def _write(self, round_number: int, tree: Any, tensors: dict[str, Tensor], records: Mapping[str, Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        remove_parts(self._folder)
        text = json.dumps(tree)
        metadata = {
            "format": FORMAT,
            "round": str(round_number),
            "state": text,
            "checksum": _checksum(text, tensors),
            **asdict(self._origin),
            "records": json.dumps(records),
        }
        metadata[HEADER] = _header_digest(metadata)
        with whole_or_not_at_all(self._folder / f"round_{round_number:06d}.safetensors") as part:
            save_file(tensors, part, metadata=metadata)
            with part.open("rb") as file:
                os.fsync(file.fileno())
        for _, old in self._stored()[: -self._keep]:
            if old.is_file():
                old.unlink()

    def load_newest(self) -> tuple[int, dict[str, Any]] | None:
        """Round and state of the newest checkpoint that is whole and fits; None if there is none at all.

        What the records were is under ``records``, where it is known. A checkpoint that is damaged, or belongs to
        another run or round, is put aside with a warning, and the one before is taken. Where none fits because
        settings or data have changed, nothing is put aside: the change may be undone.

        Raises:
            ConfigError: all were made with other settings or data.
            CheckpointError: none is left, or the newest was written by another version of fedsim, or with other
                frozen parameters.
        """
        stored, changed = self._stored(), []
        for round_number, path in reversed(stored):
            try:
                found = _read(path, round_number, self._origin)
            except _OtherSettingsError:
                changed.append(path)
            except _UnfitError as error:
                log.warning("%s %s: put aside as %s", path, error, put_aside(path, FOREIGN).name)
            except (SafetensorError, OSError, KeyError, ValueError) as error:
                log.warning("%s is damaged (%s): put aside as %s", path, error, put_aside(path).name)
            else:
                for one in changed:
                    log.warning("%s %s: put aside as %s", one, OTHER_SETTINGS, put_aside(one, FOREIGN).name)
                return round_number, found
        if changed:
            remedy = "undo the change of its config.yaml or of the data, or start a new run; nothing is lost"
            raise ConfigError("--resume", f"{changed[0]} {OTHER_SETTINGS} than there are now", remedy)
        if stored or any(self._put_aside()):
            problem = f"every checkpoint in {self._folder} is damaged or belongs to another run"
            raise CheckpointError(f"{problem}: start a new run, or remove this folder to start this run again")
        return None

    def _put_aside(self) -> Iterator[Path]:
        return chain.from_iterable(self._folder.glob(f"round_*{suffix}*") for suffix in (DAMAGED, FOREIGN))

    def _stored(self) -> list[tuple[int, Path]]:
        found = [(re.fullmatch(r"round_(\d+)\.safetensors", path.name), path) for path in self._folder.glob("*")]
        return sorted((int(match[1]), path) for match, path in found if match)


def stored_rounds(folder: Path) -> list[int]:
    """The rounds after which there are checkpoints in a folder, in order."""
    return [round_number for round_number, _ in Checkpoints(folder, keep=1)._stored()]


def read_model(folder: Path, round_number: int) -> dict[str, Tensor]:
    """Parameters and buffers of the global model after a round, by the names that they have in the module.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged, or of an older form.
    """
    path = folder / f"round_{round_number:06d}.safetensors"
    try:
        metadata, tensors = _contents(path)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error}") from error
    state = unpack(json.loads(metadata["state"]), tensors)
    if "model" not in state:
        raise CheckpointError(f"{path} was written by an older fedsim, without the names of the parameters")
    return dict(state["model"])


def _contents(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a checkpoint that is whole."""
    if not path.is_file():
        raise ValueError("it is no file")
    with readable_path(path) as readable, safe_open(readable, framework="pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    if HEADER in metadata and _header_digest(metadata) != metadata[HEADER]:
        raise ValueError("its header does not fit")
    if metadata.get("format") not in READABLE:
        raise CheckpointError(f"{path} is not a checkpoint of this version ({FORMAT})")
    if _checksum(metadata["state"], tensors) != metadata["checksum"]:
        raise ValueError("its checksum does not fit")
    return metadata, tensors


def _read(path: Path, round_number: int, origin: Origin) -> dict[str, Any]:
    metadata, tensors = _contents(path)
    _require_fit(metadata, round_number, origin)
    if metadata.get("frozen", origin.frozen) != origin.frozen:
        raise CheckpointError(
            f"{path} was made with other frozen parameters: bring the weights back, or start a new run"
        )
    state: dict[str, Any] = unpack(json.loads(metadata["state"]), tensors)
    return {**state, "records": json.loads(metadata.get("records", "{}"))}


def _require_fit(metadata: Mapping[str, str], round_number: int, origin: Origin) -> None:
    """Whether a checkpoint is one of this run and this round; an older one says less, and is asked for less."""
    if metadata.get("run", "") != origin.run:
        raise _UnfitError("belongs to another run")
    if (stored := metadata.get("round", str(round_number))) != str(round_number):
        raise _UnfitError(f"holds round {stored}, not the round of its name")
    if metadata.get("results", origin.results) != origin.results:
        raise _OtherSettingsError(OTHER_SETTINGS)


def _header_digest(metadata: Mapping[str, str]) -> str:
    """Of everything beside the tensors."""
    header = sorted((key, value) for key, value in metadata.items() if key != HEADER)
    return hashlib.blake2b(json.dumps(header).encode(), digest_size=16).hexdigest()


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Of everything that is stored, to the last bit."""
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
