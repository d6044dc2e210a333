"""The residual networks for CIFAR, against the paper's figures and torchvision's blocks."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from fedsim.models import models
from support.timm_weights import refused


def built(**settings: Any) -> Any:
    return models.build("resnet_cifar", **settings).build((3, 32, 32), 10)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_parameters_are_as_many_as_in_table_6_of_the_paper(depth: int, millions: float) -> None:
    assert count(built(depth=depth)) / 1e6 == pytest.approx(millions, abs=0.5 * (0.1 if millions > 1 else 0.01))


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("depth", [8, 20])
def test_layers_with_weights_are_as_many_as_the_name_says(depth: int, norm: str) -> None:
    for shortcut, more in (("A", 0), ("B", 2)):  # the paper does not count the shortcuts' layers
        model = built(depth=depth, norm=norm, shortcut=shortcut)
        assert sum(isinstance(layer, nn.Conv2d | nn.Linear) for layer in model.modules()) == depth + more


def test_shortcut_b_adds_two_convolutions_and_their_normalisation() -> None:
    more = sum(a * b + 2 * b for a, b in ((16, 32), (32, 64)))
    assert count(built(shortcut="B")) - count(built()) == more


def test_the_stages_have_the_sizes_of_the_paper() -> None:
    model, shapes = built(depth=8), []
    for part in (model.conv, model.stage1, model.stage2, model.stage3, model.pool):
        part.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape[1:])))
    model(torch.zeros(2, 3, 32, 32))
    assert shapes == [(16, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8), (64, 1, 1)]


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_a_block_computes_what_torchvisions_does(shortcut: str) -> None:
    block, inputs = built(depth=8, shortcut=shortcut).stage2[0].eval(), torch.randn(2, 16, 8, 8)

    def padded(values: Tensor) -> Tensor:
        out = torch.zeros(2, 32, 4, 4)
        out[:, 8:24] = values[:, :, ::2, ::2]
        return out

    class Padding(nn.Module):
        def forward(self, values: Tensor) -> Tensor:
            return padded(values)

    theirs = BasicBlock(16, 32, stride=2, downsample=Padding() if shortcut == "A" else block.shortcut).eval()
    conv1, bn1, _, conv2, bn2 = block.body
    theirs.conv1, theirs.bn1, theirs.conv2, theirs.bn2 = conv1, bn1, conv2, bn2
    assert torch.equal(block(inputs), theirs(inputs))


def test_group_normalisation_needs_no_other_sample() -> None:
    model, inputs = built(depth=8, norm="group", groups=4).train(), torch.randn(4, 3, 32, 32)
    assert torch.allclose(model(inputs)[:1], model(inputs[:1]), atol=1e-5)
    assert not dict(model.named_buffers())
    assert {layer.num_groups for layer in model.modules() if isinstance(layer, nn.GroupNorm)} == {4}


def test_what_is_no_image_is_refused() -> None:
    refused("name", lambda: models.build("resnet_cifar").build((12,), 10))
    refused("name", lambda: models.build("resnet_cifar").build((3, 2, 32), 10))
