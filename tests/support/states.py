"""States that have been on disk."""

import io
from collections.abc import Mapping
from typing import Any

import torch

from fedsim.run_directory.checkpoint import pack, unpack


def through_a_file(state: dict[str, Any]) -> Any:
    """A state as torch.load gives it back."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def through_json(state: Mapping[str, Any]) -> Any:
    """A state as a checkpoint gives it back."""
    return unpack(*pack(state))
