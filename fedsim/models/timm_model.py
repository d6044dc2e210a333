"""Any image classifier that timm knows."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from fedsim.errors import ConfigError
from fedsim.models.base import ModelBuilder, models
from fedsim.models.fit import require_fit, require_images
from fedsim.models.hub import require_hub
from fedsim.models.weights import bare_names, misfit, misfit_error, read_weights, with_names_of
from fedsim.registry import Reference
from fedsim.settings import Schema


@models.register(
    "timm",
    Reference(
        authors="Wightman",
        title="PyTorch Image Models",
        year=2019,
        venue="GitHub",
        url="https://doi.org/10.5281/zenodo.4414861",
    ),
)
class TimmModel(ModelBuilder):
    """A timm architecture by name, from scratch, pre-trained, or from a file (`model.weights`)."""

    class Settings(Schema):
        architecture: str = Field("resnet18", description="timm's name of the model, with or without its tag")
        pretrained: bool = Field(False, description="start from timm's weights; the head is new if classes differ")
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
        if self.settings.pretrained and self.weights is not None:
            raise ConfigError("weights", "pretrained is set too", "give one of them")

    @property
    def has_weights(self) -> bool:
        return self.settings.pretrained or super().has_weights

    def check_weights(self) -> None:
        if self.settings.pretrained:
            require_hub(self._expected())
        super().check_weights()

    def build(self, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        return self._build(input_shape, num_classes)

    def build_with_weights(self, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        self.check_weights()
        if self.weights is None:
            return self._build(input_shape, num_classes, pretrained=True)
        state = read_weights(self.weights_path)
        head = f"{self._head_name()}.weight"
        in_file = next((len(tensor) for name, tensor in state.items() if head in bare_names(name)), 0)
        model = self._build(input_shape, in_file)
        state = with_names_of(model.state_dict(), state, str(self.weights))
        try:
            model.load_state_dict(state)
        except RuntimeError:  # an older form, or another number of channels: timm knows how to translate those
            difference = misfit(model.state_dict(), state)
            model = self._translated(state, input_shape, in_file, difference)
        if in_file != num_classes:
            model.reset_classifier(num_classes)  # type: ignore[operator]
        return model

    def _translated(
        self, state: Mapping[str, Tensor], input_shape: tuple[int, ...], classes: int, difference: str
    ) -> nn.Module:
        # With the classes of the file, timm demands that every tensor is there and has its shape.
        overlay = {"state_dict": dict(state), "num_classes": classes}
        try:
            return self._build(input_shape, classes, pretrained=True, pretrained_cfg_overlay=overlay)
        except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = difference or " ".join(str(error).split())[:300]
            raise misfit_error(str(self.weights), self.settings.architecture, reason) from None

    def _head_name(self) -> str:
        name = self._expected().classifier
        return str(name if isinstance(name, str) else name[0])

    def normalization(self, channels: int) -> tuple[Sequence[float], Sequence[float]] | None:
        if not self.has_weights:
            return None
        expected = self._expected()
        return (expected.mean, expected.std) if len(expected.mean) == channels else None

    def _build(self, input_shape: tuple[int, ...], num_classes: int, **options: Any) -> nn.Module:
        require_images(input_shape, "timm")
        self.check()
        if self._expected().fixed_input_size:  # a vision transformer has an embedding for each place
            options["img_size"] = input_shape[1:]
        rates = {"drop_rate": self.settings.drop_rate, "drop_path_rate": self.settings.drop_path_rate}
        asked = {name: rate for name, rate in rates.items() if rate}
        try:
            model: nn.Module = _timm().create_model(
                self.settings.architecture, num_classes=num_classes, in_chans=input_shape[0], **asked, **options
            )
        except TypeError as error:
            refused = next((name for name in asked if name in str(error)), None)
            if refused is None:
                raise
            raise ConfigError(refused, f"'{self.settings.architecture}' has none", "leave it out") from None
        require_fit(model, input_shape, self.settings.architecture)
        if self.settings.stem == "cifar":
            _shrink_stem(model, input_shape[0], self.settings.architecture)
        if self.settings.activation_checkpointing:
            _checkpoint_activations(model, self.settings.architecture)
        return model

    def _expected(self) -> Any:
        """timm's description of the pre-trained weights: image size, normalisation, name of the head."""
        timm = _timm()
        return timm.get_pretrained_cfg(self.settings.architecture) or timm.models.PretrainedCfg()


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
