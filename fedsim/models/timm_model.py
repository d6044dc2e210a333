"""Any image classifier that timm knows."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from fedsim.errors import ConfigError
from fedsim.files import user_path
from fedsim.models.base import ModelBuilder, models
from fedsim.models.weights import read_weights, require_hub
from fedsim.settings import Schema


@models.register("timm", paper="Wightman, PyTorch Image Models")
class TimmModel(ModelBuilder):
    """A timm architecture by name, from scratch, pre-trained, or from weights of yours."""

    class Settings(Schema):
        architecture: str = Field("resnet18", description="timm's name of the model, with or without its tag")
        pretrained: bool = Field(False, description="start from timm's weights; the head is new if classes differ")
        weights: str | None = Field(
            None,
            min_length=1,
            description="start from this file: safetensors, or a torch checkpoint of tensors only",
        )
        stem: Literal["timm", "cifar"] = Field(
            "timm", description="cifar: a 3x3 convolution and no pooling, for ResNets on 32-pixel images"
        )
        drop_rate: float = Field(0.0, ge=0, lt=1, description="dropout before the head")
        drop_path_rate: float = Field(0.0, ge=0, lt=1, description="stochastic depth")
        activation_checkpointing: bool = Field(
            False, description="compute activations twice instead of keeping them: less memory, more time"
        )

    settings: Settings

    def check(self) -> None:
        timm, name = _timm(), self.settings.architecture
        if not timm.is_model(name):
            near = get_close_matches(name, timm.list_models(), n=3) or get_close_matches(
                name, timm.list_pretrained(), n=3
            )
            raise ConfigError("architecture", f"timm has no model '{name}'", f"nearest: {', '.join(near) or 'none'}")
        try:
            self._expected()
        except RuntimeError:
            tags = ", ".join(timm.list_pretrained(f"{name.split('.')[0]}.*")) or "none"
            raise ConfigError("architecture", f"timm has no weights '{name}'", f"there are: {tags}") from None
        if self.settings.pretrained and self.settings.weights is not None:
            raise ConfigError("weights", "pretrained is set too", "give one of them")

    @property
    def has_weights(self) -> bool:
        return self.settings.pretrained or self.settings.weights is not None

    def check_weights(self) -> None:
        if self.settings.pretrained:
            require_hub(self._expected())
        elif self.settings.weights is not None and not user_path(self.settings.weights).is_file():
            raise ConfigError("weights", f"there is no file {self.settings.weights}", "name another file")

    def build(self, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        return self._build(input_shape, num_classes)

    def build_with_weights(self, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        self.check_weights()
        if self.settings.weights is None:
            return self._build(input_shape, num_classes, pretrained=True)
        state = read_weights(user_path(self.settings.weights))
        overlay: dict[str, Any] = {"state_dict": state}
        head = state.get(f"{self._expected().classifier}.weight")
        if head is not None:
            overlay["num_classes"] = len(head)  # so that timm keeps a head that fits and replaces another
        try:
            return self._build(input_shape, num_classes, pretrained=True, pretrained_cfg_overlay=overlay)
        except (RuntimeError, KeyError) as error:
            reason = " ".join(str(error).split())[:300]
            problem = f"{self.settings.weights} does not fit {self.settings.architecture}: {reason}"
            raise ConfigError("weights", problem, "name the weights of this architecture") from None

    def normalization(self, channels: int) -> tuple[Sequence[float], Sequence[float]] | None:
        expected = self._expected()
        return (expected.mean, expected.std) if len(expected.mean) == channels else None

    def _build(self, input_shape: tuple[int, ...], num_classes: int, **options: Any) -> nn.Module:
        if len(input_shape) != 3:
            raise ConfigError(
                "name", f"timm's models need images, not inputs of shape {list(input_shape)}", "use mlp"
            )
        self.check()
        if self._expected().fixed_input_size:  # a vision transformer has an embedding for each place
            options["img_size"] = input_shape[1:]
        rates = {"drop_rate": self.settings.drop_rate, "drop_path_rate": self.settings.drop_path_rate}
        model: nn.Module = _timm().create_model(
            self.settings.architecture,
            num_classes=num_classes,
            in_chans=input_shape[0],
            **{name: rate for name, rate in rates.items() if rate},
            **options,
        )
        if self.settings.stem == "cifar":
            _shrink_stem(model, input_shape[0], self.settings.architecture)
        if self.settings.activation_checkpointing:
            _checkpoint_activations(model, self.settings.architecture)
        return model

    def _expected(self) -> Any:
        """timm's description of the pre-trained weights: image size, normalisation, name of the head."""
        expected = _timm().get_pretrained_cfg(self.settings.architecture)
        assert expected is not None
        return expected


def _timm() -> Any:
    import timm  # most of a rank's start-up time, so only where it is used

    return timm


def _shrink_stem(model: nn.Module, channels: int, name: str) -> None:
    """He et al. 2016 train on 32-pixel images with a stem that keeps their size."""
    parts: Mapping[str, Any] = dict(model.named_children())
    first, pool = parts.get("conv1"), parts.get("maxpool")
    if not isinstance(first, nn.Conv2d) or pool is None:
        raise ConfigError("stem", f"'{name}' has no ResNet stem to exchange", "leave it at timm")
    model.conv1 = nn.Conv2d(channels, first.out_channels, 3, padding=1, bias=False)
    weight: Tensor = model.conv1.weight
    nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()


def _checkpoint_activations(model: nn.Module, name: str) -> None:
    try:
        model.set_grad_checkpointing(True)  # type: ignore[operator]
    except (AttributeError, AssertionError):
        problem = f"timm cannot checkpoint the activations of '{name}'"
        raise ConfigError("activation_checkpointing", problem, "set it to false") from None
