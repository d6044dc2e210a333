"""Training only part of a model."""

from typing import Any

import pytest
import timm
import torch
from torch import nn

from fedsim.models import models
from fedsim.training.freezing import freeze, set_training
from fedsim.updates.model_rows import ModelRows
from support.small_cnn import CNN, CNN_HEAD, CNN_ROW
from support.timm_weights import differing, refused

FROZEN_BY = {
    ("conv1.weight",): ["conv1.weight"],
    ("bn1.*",): ["bn1.weight", "bn1.bias"],
    ("layer[13].0.bn?.bias",): [f"layer{a}.0.bn{b}.bias" for a in (1, 3) for b in (1, 2)],
    ("layer[!1-3].0.conv1.*", "fc.b*"): ["layer4.0.conv1.weight", "fc.bias"],
    ("*downsample*weight",): [f"layer{a}.0.downsample.{b}.weight" for a in (2, 3, 4) for b in (0, 1)],
}


@pytest.mark.parametrize("patterns", list(FROZEN_BY))
def test_patterns_freeze_what_they_name_and_no_more(patterns: tuple[str, ...]) -> None:
    model = timm.create_model("resnet18", num_classes=5)
    freeze(model, patterns)
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == FROZEN_BY[patterns]


def test_no_pattern_freezes_nothing() -> None:
    model = nn.Linear(2, 2)
    freeze(model, [])
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("patterns", "position", "suggests"),
    [
        (["layer1.*", "layerr2.*"], 1, "layer2.*"),
        (["CONV1.weight"], 0, "conv1.*"),
        (["layer1"], 0, "layer1.*"),
    ],
)
def test_a_pattern_that_matches_nothing_suggests_one_that_does(
    patterns: list[str], position: int, suggests: str
) -> None:
    model = timm.create_model("resnet18", num_classes=5)
    message = refused(f"freeze.{position}", lambda: freeze(model, patterns))
    assert patterns[position] in message
    assert suggests in message


def test_a_parameter_of_the_model_itself_is_suggested_too() -> None:
    model = timm.create_model("test_vit", num_classes=5)
    assert "'pos_embed'" in refused("freeze.0", lambda: freeze(model, ["pos_embd"]))


@pytest.mark.parametrize("patterns", [["*"], ["[!f]*", "fc.*"]])
def test_something_must_be_left_to_train(patterns: list[str]) -> None:
    model = timm.create_model("resnet18", num_classes=5)
    assert "train" in refused("freeze", lambda: freeze(model, patterns))


@pytest.mark.parametrize(
    ("patterns", "row", "buffers"),
    [
        ([], CNN_ROW, 2 * 4 + 2 * 8),
        (["0.*"], CNN_HEAD, 0),
        (["0.1.*"], CNN_ROW - 2 * 4, 2 * 8),
        (["0.0.*"], CNN_ROW - (4 * 75 + 4), 2 * 4 + 2 * 8),
        (["0.5.weight"], CNN_ROW - 8, 2 * 4 + 2 * 8),
    ],
)
def test_frozen_parameters_and_their_statistics_are_no_part_of_the_rows(
    patterns: list[str], row: int, buffers: int
) -> None:
    model = models.build("small_cnn", **CNN).build((3, 16, 16), 4)
    freeze(model, patterns)
    rows = ModelRows(model)
    assert (rows.layout.size, rows.buffer_layout.size) == (row, buffers)
    assert [len(vector) for vector in rows.read()] == [row, buffers]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rows.load(torch.full((row,), 7.0), torch.full((buffers,), 9.0))
    changed = differing(before, model.state_dict())
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert changed & dict(model.named_parameters()).keys() == trained
    assert changed - trained == set(rows.buffer_layout.shapes)


@pytest.mark.parametrize(
    ("patterns", "changed"),
    [([], {"0.1", "0.5"}), (["0.1.*"], {"0.5"}), (["0.*"], set()), (["0.1.bias"], {"0.1", "0.5"})],
)
def test_a_frozen_batch_norm_keeps_its_statistics(patterns: list[str], changed: set[str]) -> None:
    model: Any = models.build("small_cnn", **CNN, dropout=0.5).build((3, 16, 16), 4)
    freeze(model, patterns)
    model.eval()
    set_training(model)
    assert model.training
    assert model[3].training  # dropout
    norms = {name: module for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert {name for name, module in norms.items() if module.training} == changed
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model(torch.randn(8, 3, 16, 16) + 1)
    assert {name.rsplit(".", 1)[0] for name in differing(before, model.state_dict())} == changed
