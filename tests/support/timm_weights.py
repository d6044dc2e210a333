"""Models of timm, and weights in files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from fedsim.errors import ConfigError
from fedsim.models import ModelBuilder, models

State = dict[str, Tensor]
RESNET_HEAD = {"fc.weight", "fc.bias"}


def timm_model(architecture: str, **settings: object) -> ModelBuilder:
    return models.build("timm", architecture=architecture, **settings)


def of_timm(architecture: str, classes: int, channels: int = 3, **options: Any) -> State:
    """Parameters and buffers of a model that timm made by itself, buffers being other than at the start."""
    model = timm.create_model(architecture, num_classes=classes, in_chans=channels, **options)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor += 0.01 * torch.rand(tensor.shape)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def written(folder: Path, state: State) -> Path:
    save_file(state, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def loaded(
    path: Path, shape: tuple[int, ...], classes: int, architecture: str = "test_resnet", **more: object
) -> State:
    builder = timm_model(architecture, weights=str(path), **more)
    assert builder.has_weights
    builder.check()
    builder.check_weights()
    return builder.build_with_weights(shape, classes).state_dict()


def differing(a: State, b: State) -> set[str]:
    assert a.keys() == b.keys()
    return {name for name in a if not torch.equal(a[name], b[name])}


def refused(key: str, action: Callable[[], object]) -> str:
    """The message of the ConfigError that the action must raise."""
    with pytest.raises(ConfigError) as caught:
        action()
    assert caught.value.key == key, str(caught.value)
    assert caught.value.remedy, str(caught.value)
    return str(caught.value)
