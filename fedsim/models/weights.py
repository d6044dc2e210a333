"""Reading pre-trained weights: from a file without executing anything, or from a hub that can be reached."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fedsim.errors import ConfigError
from fedsim.files import readable_path

WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training programs put a model's parameters into their checkpoints."""

PATIENCE = 3.0
"""Seconds to wait for a hub before it counts as unreachable."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Named tensors of a safetensors file, or of a torch checkpoint of plain tensors.

    Raises:
        ConfigError: the file is missing, damaged, or holds more than tensors and so would need to run code.
    """
    try:
        if path.suffix == ".safetensors":
            with readable_path(path) as readable:
                return dict(load_file(readable))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError("weights", f"cannot read {path}: {error.strerror or error}", "name another file") from None
    except SafetensorError as error:
        raise ConfigError("weights", f"{path} is damaged: {error}", "fetch it again") from None
    except Exception as error:  # a damaged or hostile pickle raises nearly everything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        problem = f"{path} cannot be read without running code: {reason}"
        raise ConfigError("weights", problem, "save plain tensors, best with safetensors.torch.save_file") from None
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(tensor, Tensor) for tensor in content.values())
    ):
        raise ConfigError("weights", f"{path} does not hold named tensors", "save model.state_dict()")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def require_hub(config: Any) -> None:
    """ConfigError at once if timm's weights are neither on this machine nor to be had.

    Args:
        config: timm's description of the pre-trained weights.
    """
    if not config.hf_hub_id and not config.url:
        raise ConfigError("pretrained", f"timm has no weights for '{config.architecture}'", "set it to false")
    if _on_this_machine(config):
        return
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co") if config.hf_hub_id else config.url
    host = urlsplit(address)
    problem = f"the weights of '{config.architecture}' are not on this machine, and {host.hostname} cannot be reached"
    call = f"timm.create_model('{_full_name(config)}', pretrained=True)"
    remedy = (
        f"run {call} in Python where there is a network and take $HF_HOME along (default ~/.cache/huggingface), "
        f"or set model.weights to a file"
    )
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        raise ConfigError("pretrained", f"{problem} (HF_HUB_OFFLINE is set)", remedy)
    if host.scheme in getproxies():
        return  # only the proxy knows what it can reach
    try:
        socket.create_connection(
            (host.hostname, host.port or (80 if host.scheme == "http" else 443)), PATIENCE
        ).close()
    except OSError:
        raise ConfigError("pretrained", problem, remedy) from None


def _on_this_machine(config: Any) -> bool:
    if not config.hf_hub_id:
        name = urlsplit(config.url).path.rsplit("/", 1)[-1]
        return (Path(torch.hub.get_dir()) / "checkpoints" / name).is_file()
    from huggingface_hub import try_to_load_from_cache

    files = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    return any(isinstance(try_to_load_from_cache(config.hf_hub_id, file), str) for file in files)


def _full_name(config: Any) -> str:
    return f"{config.architecture}.{config.tag}" if config.tag else str(config.architecture)
