"""What holds for every model."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from fedsim.errors import ConfigError
from fedsim.models import ModelBuilder, Task, models
from fedsim.models.sequence_model import SequenceModel
from support.plugin_files import plugin
from support.timm_weights import differing, refused

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.LazyLinear(6), nn.ReLU(), nn.Linear(6, num_classes))

    def forward(self, inputs):
        return self.layers(inputs)
"""
OTHERS_CODE = {"timm", "torchvision", "module"}
IMAGES = Task(input_shape=(1, 32, 32), num_classes=5)
SEQUENCES = Task(input_shape=(9,), num_classes=5, vocabulary=7)


@pytest.fixture(params=list(models.describe()))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def settings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Of a small model."""
    small: dict[str, dict[str, Any]] = {
        "timm": {"architecture": "test_resnet"},
        "torchvision": {"architecture": "shufflenet_v2_x0_5"},
        "resnet_cifar": {"depth": 8},
        "module": {"path": f"{plugin(tmp_path / 'net.py', NET, monkeypatch)}:Net"},
    }
    return small.get(name, {})


def builder(name: str, settings: dict[str, Any], **more: Any) -> ModelBuilder:
    return models.build(name, **settings, **more)


def task_of(builder: ModelBuilder) -> Task:
    return SEQUENCES if isinstance(builder, SequenceModel) else IMAGES


def test_every_model_classifies(name: str, settings: dict[str, Any]) -> None:
    own = builder(name, settings)
    fits, other = (SEQUENCES, IMAGES) if task_of(own) is SEQUENCES else (IMAGES, SEQUENCES)
    inputs = torch.zeros(2, *fits.input_shape, dtype=torch.float32 if fits is IMAGES else torch.int64)
    assert own.build_for(fits)(inputs).shape == (2, 5)
    with pytest.raises(ConfigError, match="token ids"):
        own.build_for(other)


def test_own_models_have_no_weights_and_nothing_to_check(name: str) -> None:
    if name not in OTHERS_CODE:
        own = models.build(name)
        assert not own.has_weights
        own.check()
        own.check_weights()
        assert own.normalization(3) is None


def test_every_model_starts_from_a_file_and_has_a_new_head_for_other_classes(
    name: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    own = builder(name, settings, weights=str(tmp_path / "w.safetensors"))
    task = task_of(own)
    saved = {key: tensor.clone() for key, tensor in own.build_for(task).state_dict().items()}
    save_file({f"model.{key}": tensor for key, tensor in saved.items()}, tmp_path / "w.safetensors")  # as runs do
    assert own.has_weights
    own.check_weights()
    assert not differing(own.build_with_weights_for(task).state_dict(), saved)
    new = differing(own.build_with_weights_for(replace(task, num_classes=6)).state_dict(), saved)
    assert new
    assert {saved[key].shape[0] for key in new} == {5}


def test_every_model_refuses_weights_of_another(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    save_file({"fc.weight": torch.ones(5, 3), "fc.bias": torch.ones(5)}, tmp_path / "w.safetensors")
    own = builder(name, settings, weights=str(tmp_path / "w.safetensors"))
    for classes in (5, 7):
        task = replace(task_of(own), num_classes=classes)
        message = refused("weights", partial(own.build_with_weights_for, task))
        assert "w.safetensors does not fit" in message


def test_every_model_names_a_file_that_is_missing(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    own = builder(name, settings, weights=str(tmp_path / "absent.pth"))
    assert "absent.pth" in refused("weights", own.check_weights)
