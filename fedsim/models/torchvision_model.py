"""Any image classifier that torchvision knows."""

import inspect
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from fedsim.errors import ConfigError, did_you_mean
from fedsim.models.base import ModelBuilder, models
from fedsim.models.fit import does_not_fit, require_fit, require_images
from fedsim.models.hub import require_url
from fedsim.models.task import Task
from fedsim.models.weights import load_weights, read_weights
from fedsim.registry import Reference
from fedsim.settings import Schema

RGB = 3
"""Channels of the images that torchvision's models are made for."""

SECOND_OUTPUTS = re.compile(r"(^|\.)(aux\d|AuxLogits)\.")
"""Names of tensors that only training with a second output uses, which no model has here."""


@models.register(
    "torchvision",
    Reference(
        authors="TorchVision maintainers and contributors",
        title="TorchVision: PyTorch's Computer Vision library",
        year=2016,
        venue="GitHub",
        url="https://github.com/pytorch/vision",
    ),
)
class TorchvisionModel(ModelBuilder):
    """A torchvision classifier by name, from scratch, pre-trained, or from a file (`model.weights`)."""

    class Settings(Schema):
        architecture: str = Field(
            "resnet18", description="torchvision's name of the model, or of its weights, as resnet50.IMAGENET1K_V2"
        )
        pretrained: bool = Field(
            False, description="start from torchvision's weights; the head is new if classes differ"
        )

    settings: Settings

    def check(self) -> None:
        known, name, tag = _architectures(), self._name, self._tag
        if name not in known:
            near = get_close_matches(name, known, n=3)
            problem = f"torchvision has no classifier '{name}'"
            raise ConfigError("architecture", problem, f"nearest: {', '.join(near) or 'none'}")
        tags = _weights_of(name).__members__
        if tag and tag not in tags:
            raise ConfigError("architecture", f"torchvision has no weights '{name}.{tag}'", did_you_mean(tag, tags))
        if self.settings.pretrained and self.weights is not None:
            raise ConfigError("weights", "pretrained is set too", "give one of them")

    @property
    def has_weights(self) -> bool:
        return self.settings.pretrained or super().has_weights

    def check_weights(self) -> None:
        super().check_weights()
        if self.settings.pretrained:
            call = f"torchvision.models.get_model('{self._name}', weights='{self._published.name}')"
            require_url(self._published.url, self.settings.architecture, call)

    def build(self, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        require_images(input_shape, "torchvision")
        self.check()
        offered = {
            "aux_logits": False,  # a second output, in training only
            "init_weights": True,
            "transform_input": self.has_weights and input_shape[0] == RGB,  # its weights expect another normalisation
            "image_size": input_shape[-1],  # a vision transformer has an embedding for each place
            "input_size": tuple(input_shape[1:]),
        }
        try:
            model = _made(self._name, offered, num_classes=num_classes)
        except Exception as error:
            raise does_not_fit(input_shape, self._name, error) from None
        if input_shape[0] != RGB:
            _exchange_stem(model, input_shape[0])
        require_fit(model, input_shape, self._name)
        return model

    def build_with_weights(self, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        self.check_weights()
        task = Task(input_shape=input_shape, num_classes=num_classes)
        model = self.build_for(task)
        source, state = self._read()
        state = {name: tensor for name, tensor in state.items() if not SECOND_OUTPUTS.search(name)}
        state = _with_channels_of(model, _at_places_of(model, state))
        load_weights(model, state, self._name, source, lambda: self.head(task))
        return model

    def normalization(self, channels: int) -> tuple[Sequence[float], Sequence[float]] | None:
        if not self.has_weights or channels != RGB:
            return None
        shown = self._published.transforms()
        return shown.mean, shown.std

    def _read(self) -> tuple[str, Mapping[str, Tensor]]:
        """Where the weights come from, and the named tensors."""
        if self.weights is not None:
            return str(self.weights_path), read_weights(self.weights_path)
        model = _made(self._name, {"aux_logits": False, "transform_input": True}, weights=self._published)
        return self.settings.architecture, model.state_dict()

    @property
    def _name(self) -> str:
        return self.settings.architecture.partition(".")[0]

    @property
    def _tag(self) -> str:
        return self.settings.architecture.partition(".")[2]

    @property
    def _published(self) -> Any:
        """torchvision's description of the pre-trained weights."""
        return _weights_of(self._name)[self._tag or "DEFAULT"]


def _library() -> Any:
    import torchvision.models  # much of a rank's start-up time, so only where it is used

    return torchvision.models


def _architectures() -> list[str]:
    library = _library()
    return list(library.list_models(module=library))


def _weights_of(name: str) -> Any:
    return _library().get_model_weights(name)


def _made(name: str, offered: Mapping[str, Any], **options: Any) -> nn.Module:
    """The model, given those of the offered options that its class knows."""
    library = _library()
    kind = inspect.signature(library.get_model_builder(name)).return_annotation
    known = inspect.signature(kind).parameters
    asked = {option: value for option, value in offered.items() if option in known}
    model: nn.Module = library.get_model(name, **asked, **options)
    return model


def _stem(model: nn.Module) -> tuple[str, nn.Conv2d]:
    """The first convolution, which sees the images."""
    return next((name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d))


@torch.no_grad()
def _exchange_stem(model: nn.Module, channels: int) -> None:
    """A stem for another number of channels, its weights as spread as before."""
    name, old = _stem(model)
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    new.weight.copy_(torch.randn_like(new.weight) * old.weight.std())
    if old.bias is not None and new.bias is not None:
        new.bias.copy_(old.bias)
    model.set_submodule(name, new)


def _with_channels_of(model: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Weights of a stem for other channels, as timm adapts them: for grey images, the sum over the colours."""
    name, stem = _stem(model)
    key = next((key for key in state if key.endswith(f"{name}.weight")), None)
    if key is None or state[key].dim() != 4 or state[key].shape[1] == stem.in_channels:
        return state
    from timm.models import adapt_input_conv

    return {**state, key: adapt_input_conv(stem.in_channels, state[key])}


def _at_places_of(model: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Embeddings of a vision transformer's places, interpolated where the images have another size."""
    places, transformer = "encoder.pos_embedding", _library().vision_transformer
    key = next((key for key in state if key.endswith(places)), None)
    if key is None or not isinstance(model, transformer.VisionTransformer):
        return state
    try:
        new = transformer.interpolate_embeddings(model.image_size, model.patch_size, {places: state[key]})
    except ValueError:  # they are no square: not those of such a model, as will be said
        return state
    return {**state, key: new[places]}
