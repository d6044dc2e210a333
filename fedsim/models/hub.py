"""Pre-trained weights of a hub: whether they are on this machine, or can be had."""

import os
import socket
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

import torch

from fedsim.errors import ConfigError

PATIENCE = 3.0
"""Seconds to wait for a hub before it counts as unreachable."""


def require_hub(config: Any) -> None:
    """ConfigError at once if timm's weights are neither on this machine nor to be had.

    Args:
        config: timm's description of the pre-trained weights.
    """
    if not config.hf_hub_id and not config.url:
        raise ConfigError("pretrained", f"timm has no weights for '{config.architecture}'", "set it to false")
    if _on_this_machine(config):
        return
    host = _hub() if config.hf_hub_id else urlsplit(config.url)
    problem = f"the weights of '{config.architecture}' are not on this machine, and {host.hostname} cannot be reached"
    call = f"timm.create_model('{_full_name(config)}', pretrained=True)"
    remedy = (
        f"run {call} in Python where there is a network and take $HF_HOME along (default ~/.cache/huggingface), "
        f"or set model.weights to a file"
    )
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        raise ConfigError("pretrained", f"{problem} (HF_HUB_OFFLINE is set)", remedy)
    if _behind_a_proxy(host):
        return  # only the proxy knows what it can reach
    try:
        socket.create_connection(
            (host.hostname, host.port or (80 if host.scheme == "http" else 443)), PATIENCE
        ).close()
    except OSError:
        raise ConfigError("pretrained", problem, remedy) from None


def _hub() -> SplitResult:
    """Where huggingface_hub fetches from."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    host = urlsplit(endpoint)
    if host.scheme not in ("http", "https") or not host.hostname:
        problem = f"the environment variable HF_ENDPOINT is '{endpoint}', which is no address"
        raise ConfigError("pretrained", problem, "write it with https:// in front, or unset it")
    return host


def _behind_a_proxy(host: SplitResult) -> bool:
    """Whether huggingface_hub asks a proxy for this host.

    It honours what most programs do: HTTPS_PROXY or HTTP_PROXY, else ALL_PROXY, in capitals or not, but for the hosts
    in NO_PROXY.
    """
    proxies = getproxies()
    return bool(proxies.get(host.scheme) or proxies.get("all")) and not proxy_bypass(host.hostname or "")


def _on_this_machine(config: Any) -> bool:
    if not config.hf_hub_id:
        name = urlsplit(config.url).path.rsplit("/", 1)[-1]
        return (Path(torch.hub.get_dir()) / "checkpoints" / name).is_file()
    from huggingface_hub import try_to_load_from_cache

    files = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    return any(isinstance(try_to_load_from_cache(config.hf_hub_id, file), str) for file in files)


def _full_name(config: Any) -> str:
    return f"{config.architecture}.{config.tag}" if config.tag else str(config.architecture)
