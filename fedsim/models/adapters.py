"""Low-rank adapters (LoRA) of a model that is not trained itself."""

import importlib.util
import re
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from fedsim.errors import ConfigError, did_you_mean
from fedsim.models.weights import few

ADAPTED: tuple[type[nn.Module], ...] = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Kinds of layers that can get an adapter."""


def require_peft() -> None:
    """ConfigError if the library that makes adapters is not installed."""
    if importlib.util.find_spec("peft") is None:
        raise ConfigError("adapter", "peft is not installed", "pip install 'fedsim-byzantine[adapters]'")


def add_adapters(
    model: nn.Module,
    head: Collection[str],
    *,
    rank: int,
    alpha: float,
    dropout: float,
    targets: Sequence[str],
    train_head: bool,
) -> None:
    """Freeze the model, give layers an adapter each, and train those, with or without the head.

    A layer with weight W [m, n] then computes with W + (alpha / rank) B A, where A [rank, n] is random and B
    [m, rank] starts as zero: at first the model's outputs are the same. Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang
    and Chen: LoRA: Low-Rank Adaptation of Large Language Models. ICLR 2022. https://arxiv.org/abs/2106.09685

    Args:
        head: names of the head's tensors.
        targets: names of layers, or their last parts, or patterns of names; if there are none, all linear layers but
            the head.

    Raises:
        ConfigError: a pattern matches no layer, or one that cannot have an adapter; key ``adapter.targets``.
    """
    require_peft()
    from peft import LoraConfig, inject_adapter_in_model  # takes seconds

    layers = _chosen(model, head, targets)
    _keep_to_modules(model)
    options: dict[str, Any] = {"r": rank, "lora_alpha": alpha, "lora_dropout": dropout}
    config = LoraConfig(**options, target_modules="|".join(map(re.escape, layers)))
    trained = [parameter for name, parameter in model.named_parameters() if train_head and name in head]
    inject_adapter_in_model(config, model)
    for parameter in trained:
        parameter.requires_grad_(True)


def _chosen(model: nn.Module, head: Collection[str], targets: Sequence[str]) -> list[str]:
    """Names of the layers that get an adapter."""
    inside = {f"{name}.{part}" for name, layer in model.named_modules() for part in _used_without_a_call(layer)}
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, ADAPTED) and name not in inside and f"{name}.weight" not in head
    }
    if not targets:
        linear = [name for name, layer in layers.items() if isinstance(layer, nn.Linear)]
        if not linear:
            remedy = f"name layers, such as {few(list(layers))}" if layers else "take another model"
            raise ConfigError("adapter.targets", "the model has no linear layer but its head", remedy)
        return linear
    found = [name for position, target in enumerate(targets) for name in _matching(layers, target, position)]
    return list(dict.fromkeys(found))


def _matching(layers: Collection[str], target: str, position: int) -> list[str]:
    found = [name for name in layers if f".{name}".endswith(f".{target}") or fnmatchcase(name, target)]
    if not found:
        last_parts = {name.rpartition(".")[2] for name in layers}
        problem = f"'{target}' is no layer that can have an adapter"
        raise ConfigError(f"adapter.targets.{position}", problem, did_you_mean(target, last_parts))
    return found


def _used_without_a_call(layer: nn.Module) -> list[str]:
    """Children whose weights torch's attention reads without calling them, so that an adapter would do nothing."""
    return ["out_proj"] if isinstance(layer, nn.MultiheadAttention) else []


def _keep_to_modules(model: nn.Module) -> None:
    """Torch's encoder layers have a fast path for evaluation that reads the weights of their linear layers."""
    for layer in model.modules():
        if isinstance(layer, nn.TransformerEncoderLayer):
            fast: Any = layer
            fast.activation_relu_or_gelu = 0  # the path is taken for ReLU (1) and GELU (2) only
