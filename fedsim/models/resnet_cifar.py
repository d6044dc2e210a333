"""The residual networks for images of 32 pixels."""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from fedsim.errors import ConfigError
from fedsim.models.base import ModelBuilder, models
from fedsim.registry import Reference
from fedsim.settings import Schema

WIDTHS = (16, 32, 64)
"""Channels of the three stages."""

SMALLEST = 4
"""Pixels per side that leave one after the two stages that halve it."""


@models.register(
    "resnet_cifar",
    Reference(
        authors="He, Zhang, Ren and Sun",
        title="Deep Residual Learning for Image Recognition",
        year=2016,
        venue="CVPR",
        url="https://arxiv.org/abs/1512.03385",
    ),
    Reference(
        authors="Hsieh, Phanishayee, Mutlu and Gibbons",
        title="The Non-IID Data Quagmire of Decentralized Machine Learning",
        year=2020,
        venue="ICML",
        url="https://arxiv.org/abs/1910.00189",
    ),
)
class ResNetCifar(ModelBuilder):
    """ResNet-8, -20, -32, -56 and others for CIFAR: 16, 32 and 64 channels, a 3x3 stem, no pooling but the last.

    Section 4.2 of the paper: depth 6n + 2, three stages of n blocks of two 3x3 convolutions, the average over all
    places, one linear layer. A block whose output has another shape than its input adds the input subsampled, with
    zeros for the new channels (shortcut A, the paper's for CIFAR, without parameters) or through a 1x1 convolution
    (B). Group normalisation replaces batch normalisation in many papers on federated learning, where clients' batches
    differ (Hsieh et al.); two groups are those of Reddi et al. (Adaptive Federated Optimization, ICLR 2021).

    >>> sum(p.numel() for p in ResNetCifar(depth=20).build((3, 32, 32), 10).parameters())
    269722
    """

    class Settings(Schema):
        depth: Literal[8, 14, 20, 32, 44, 56, 110] = Field(20, description="layers, 6n + 2")
        shortcut: Literal["A", "B"] = Field(
            "A", description="A: zeros for the new channels of a stage; B: 1x1 convolutions"
        )
        norm: Literal["batch", "group"] = Field("batch", description="normalisation after each convolution")
        groups: Literal[1, 2, 4, 8, 16] = Field(2, description="groups of channels, with norm: group")

    settings: Settings

    def build(self, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        if len(input_shape) != 3 or min(input_shape[1:]) < SMALLEST:
            problem = f"resnet_cifar needs images of at least {SMALLEST}x{SMALLEST} pixels, not {list(input_shape)}"
            raise ConfigError("name", problem, "use mlp")
        model = nn.Sequential()
        model.add_module("conv", _conv(input_shape[0], WIDTHS[0]))
        model.add_module("norm", self._norm(WIDTHS[0]))
        model.add_module("relu", nn.ReLU())
        channels = WIDTHS[0]
        for number, width in enumerate(WIDTHS, start=1):
            blocks = [self._block(channels, width)]
            blocks += [self._block(width, width) for _ in range((self.settings.depth - 2) // 6 - 1)]
            model.add_module(f"stage{number}", nn.Sequential(*blocks))
            channels = width
        model.add_module("pool", nn.AdaptiveAvgPool2d(1))
        model.add_module("flatten", nn.Flatten())
        model.add_module("fc", nn.Linear(channels, num_classes))
        return model

    def _norm(self, channels: int) -> nn.Module:
        if self.settings.norm == "group":
            return nn.GroupNorm(self.settings.groups, channels)
        return nn.BatchNorm2d(channels)

    def _block(self, channels_in: int, channels_out: int) -> nn.Module:
        halves = channels_in != channels_out
        shortcut: nn.Module = nn.Identity()
        if halves and self.settings.shortcut == "A":
            shortcut = Padded(channels_out - channels_in)
        elif halves:
            conv = nn.Conv2d(channels_in, channels_out, 1, stride=2, bias=False)
            shortcut = nn.Sequential(conv, self._norm(channels_out))
        body = nn.Sequential(
            _conv(channels_in, channels_out, stride=1 + halves),
            self._norm(channels_out),
            nn.ReLU(),
            _conv(channels_out, channels_out),
            self._norm(channels_out),
        )
        return Residual(body, shortcut)


class Residual(nn.Module):
    """max(0, body(x) + shortcut(x))."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, inputs: Tensor) -> Tensor:
        return F.relu(self.body(inputs) + self.shortcut(inputs))


class Padded(nn.Module):
    """Every second pixel of each side, and zeros for the new channels, half of them in front (shortcut A)."""

    def __init__(self, more: int) -> None:
        super().__init__()
        self.more = more

    def forward(self, inputs: Tensor) -> Tensor:
        return F.pad(inputs[:, :, ::2, ::2], (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))


def _conv(channels_in: int, channels_out: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
