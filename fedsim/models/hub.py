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
    call = f"timm.create_model('{_full_name(config)}', pretrained=True)"
    offline = os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on")
    why = " (HF_HUB_OFFLINE is set)" if offline else ""
    if offline or not _within_reach(host):
        raise _out_of_reach(host, config.architecture, call, "$HF_HOME along (default ~/.cache/huggingface)", why)


def require_url(url: str, architecture: str, call: str) -> None:
    """ConfigError at once if a file that torch.hub fetches is neither on this machine nor to be had.

    Args:
        architecture: whose weights they are.
        call: what fetches them, in Python.
    """
    host = urlsplit(url)
    if not _fetched_by_torch(url) and not _within_reach(host):
        raise _out_of_reach(host, architecture, call, "$TORCH_HOME along (default ~/.cache/torch)")


def _out_of_reach(host: SplitResult, architecture: str, call: str, folder: str, why: str = "") -> ConfigError:
    problem = f"the weights of '{architecture}' are not on this machine, and {host.hostname} cannot be reached{why}"
    remedy = f"run {call} in Python where there is a network and take {folder}, or set model.weights to a file"
    return ConfigError("pretrained", problem, remedy)


def _within_reach(host: SplitResult) -> bool:
    if _behind_a_proxy(host):
        return True  # only the proxy knows what it can reach
    try:
        socket.create_connection(
            (host.hostname, host.port or (80 if host.scheme == "http" else 443)), PATIENCE
        ).close()
    except OSError:
        return False
    return True


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
        return _fetched_by_torch(config.url)
    from huggingface_hub import try_to_load_from_cache

    files = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
    return any(isinstance(try_to_load_from_cache(config.hf_hub_id, file), str) for file in files)


def _fetched_by_torch(url: str) -> bool:
    name = urlsplit(url).path.rsplit("/", 1)[-1]
    return (Path(torch.hub.get_dir()) / "checkpoints" / name).is_file()


def _full_name(config: Any) -> str:
    return f"{config.architecture}.{config.tag}" if config.tag else str(config.architecture)
