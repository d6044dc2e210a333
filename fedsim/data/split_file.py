"""Splits on disk: every run saves its own, and any run can use a saved one."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedsim.data.labels import count_classes
from fedsim.errors import ConfigError
from fedsim.files import read_bytes, write_text

KEY = "data.partition.path"

NAME = "partition.json"
"""Of the file in a run's directory."""


NOBODY = torch.empty(0, dtype=torch.int64)
"""Indices of no samples."""


def write_split(
    path: Path,
    client_indices: Sequence[Tensor],
    labels: Tensor,
    data_digest: str = "",
    validation: Tensor = NOBODY,
) -> None:
    """Save the sample indices of each client, and digests by which other labels and other data are recognised.

    Args:
        validation: indices of the samples that are kept for validation; without any, the file has no word of them.
    """
    lines = ",\n  ".join(map(_as_json, client_indices))
    digests = f'"labels": "{labels_digest(labels)}", "data": "{data_digest}"'
    kept = f'"validation": {_as_json(validation)}, ' if len(validation) else ""
    text = f'{{"samples": {len(labels)}, {digests}, {kept}"clients": [\n  {lines}\n]}}\n'
    write_text(path, text)


def _as_json(indices: Tensor) -> str:
    return json.dumps(indices.tolist(), separators=(",", ":"))


def save_or_check_split(
    directory: Path,
    client_indices: Sequence[Tensor],
    labels: Tensor,
    data_digest: str = "",
    validation: Tensor = NOBODY,
) -> None:
    """Save the split of a run in its directory; a run that is resumed must have the one that it has saved.

    Raises:
        ConfigError: it has another, so the data have changed.
    """
    path = directory / NAME
    if not path.exists():
        write_split(path, client_indices, labels, data_digest, validation)
        return
    saved = read_split(path)
    now = {
        "labels": labels_digest(labels),
        "data": data_digest,
        "clients": [indices.tolist() for indices in client_indices],
    }
    another = saved.get("validation", []) != validation.tolist()
    if another or any(saved.get(key) != value for key, value in now.items()):
        problem = f"the data are not those that {directory} was split from"
        raise ConfigError("--resume", problem, "bring them back, or start a new run")


def samples_by_class(labels: Tensor, client_indices: Sequence[Tensor], num_classes: int) -> list[list[int]]:
    """Samples of each client by class [K, C]; of sequences with a class for each position, the positions."""
    return [count_classes(labels[indices], num_classes).tolist() for indices in client_indices]


def read_split(path: Path) -> dict[str, Any]:
    """What :func:`write_split` wrote, or a file with at least ``clients``: a list of indices for each.

    Raises:
        ConfigError: the file is missing, or no such thing.
    """
    try:
        split = json.loads(read_bytes(path), object_pairs_hook=_dict_of_different_keys)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(KEY, f"cannot read {path}: {reason}", "name a partition.json of another run") from None
    clients = split.get("clients") if isinstance(split, dict) else None
    if not isinstance(clients, list) or not all(map(_are_indices, [*clients, split.get("validation", [])])):
        raise ConfigError(
            KEY, f"{path} holds no list of sample indices for each client", 'write {"clients": [[0, 2], ...]}'
        )
    return split


def _are_indices(value: object) -> bool:
    return isinstance(value, list) and all(type(index) is int for index in value)


def _dict_of_different_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
        raise ValueError(f"'{twice}' is there twice")
    return found


def labels_digest(labels: Tensor) -> str:
    """A digest of the labels [N] or [N, T], in their order."""
    return hashlib.blake2b(labels.numpy().tobytes(), digest_size=8).hexdigest()
