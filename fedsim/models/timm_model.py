"""Any image classifier that timm knows."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import Field
from torch import nn

from fedsim.errors import ConfigError
from fedsim.models.base import ModelBuilder, models
from fedsim.settings import Schema


@models.register("timm", paper="Wightman, PyTorch Image Models")
class TimmModel(ModelBuilder):
    """A timm architecture by name, from scratch."""

    class Settings(Schema):
        architecture: str = Field("resnet18", description="timm's name of the model")

    settings: Settings

    def build(self, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        timm, name = self._timm(), self.settings.architecture
        model: nn.Module = timm.create_model(name, num_classes=num_classes, in_chans=input_shape[0])
        return model

    def normalization(self, channels: int) -> tuple[Sequence[float], Sequence[float]] | None:
        expected = self._timm().get_pretrained_cfg(self.settings.architecture)
        return (expected.mean, expected.std) if expected is not None and len(expected.mean) == channels else None

    def _timm(self) -> Any:
        import timm  # most of a rank's start-up time, so only where it is used

        name = self.settings.architecture
        if not timm.is_model(name):
            near = get_close_matches(name, timm.list_models(), n=3)
            raise ConfigError("architecture", f"timm has no model '{name}'", f"nearest: {', '.join(near) or 'none'}")
        return timm
