"""Models of timm: shapes, stems, checkpointing, drop rates."""

from typing import Any

import pytest
import timm
import torch
from timm.data.config import resolve_data_config
from torch import nn

from fedsim.errors import ConfigError
from fedsim.models import models
from support.timm_weights import differing, refused, timm_model


def test_an_unknown_timm_architecture_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="resnet18"):
        models.build("timm", architecture="resnet_18").build((3, 32, 32), 5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("architecture", "size"),
    [("resnet18", 32), ("resnet18", 40), ("convnext_atto", 64), ("test_resnet", 48), ("test_vit", 160)],
)
def test_a_timm_model_takes_any_channels_size_and_number_of_classes(
    architecture: str, size: int, channels: int
) -> None:
    model = timm_model(architecture).build((channels, size, size), 7)
    assert model(torch.zeros(2, channels, size, size)).shape == (2, 7)
    expected = timm.create_model(architecture, num_classes=7, in_chans=channels).state_dict()
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }


@pytest.mark.parametrize("architecture", ["test_vit", "vit_tiny_patch16_224", "deit_tiny_patch16_224.fb_in1k"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 48)])
def test_a_vision_transformer_is_built_for_the_size_of_the_images(architecture: str, height: int, width: int) -> None:
    model: Any = timm_model(architecture).build((3, height, width), 5)
    assert model.pos_embed.shape[1] == 1 + (height // 16) * (width // 16)
    assert model(torch.zeros(2, 3, height, width)).shape == (2, 5)


def test_a_model_from_the_same_seed_equals_timms_own() -> None:
    torch.manual_seed(3)
    ours = timm_model("test_resnet").build((3, 32, 32), 5).state_dict()
    torch.manual_seed(3)
    assert not differing(ours, timm.create_model("test_resnet", num_classes=5).state_dict())


def test_a_wrong_architecture_suggests_the_nearest_and_a_wrong_tag_lists_the_tags() -> None:
    assert "convnext_atto" in refused("architecture", timm_model("convnext_ato").check)
    message = refused("architecture", timm_model("resnet18.a1_in2k").check)
    assert all(tag in message for tag in timm.list_pretrained("resnet18.*"))
    assert len(timm.list_pretrained("resnet18.*")) > 3
    timm_model("resnet18.a1_in1k").check()
    refused("architecture", timm_model("").check)


def test_a_name_that_timm_keeps_for_old_programs_builds_or_is_refused_in_words() -> None:
    """timm.is_model knows 'xception', but has no description of weights under this name."""
    assert timm.is_model("xception")
    builder = timm_model("xception")
    builder.check()
    assert builder.build((3, 64, 64), 5)(torch.zeros(2, 3, 64, 64)).shape == (2, 5)


@pytest.mark.parametrize("shape", [(12,), (28, 28), (3, 8, 32, 32)])
def test_inputs_that_are_no_images_are_refused(shape: tuple[int, ...]) -> None:
    assert str(list(shape)) in refused("name", lambda: timm_model("test_resnet").build(shape, 5))


def test_images_smaller_than_a_patch_are_refused_in_words() -> None:
    assert "8 x 8" in refused("architecture", lambda: timm_model("test_vit").build((3, 8, 8), 5))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_cifar_stem_keeps_32_pixels(channels: int) -> None:
    model: Any = timm_model("resnet18", stem="cifar").build((channels, 32, 32), 5)
    assert model.conv1.weight.shape == (64, channels, 3, 3)
    assert model.conv1.bias is None
    sizes: list[tuple[int, ...]] = []
    for layer in (model.conv1, model.layer1, model.layer4):
        layer.register_forward_hook(lambda _, __, out: sizes.append(tuple(out.shape[1:])))
    assert model(torch.zeros(2, channels, 32, 32)).shape == (2, 5)
    assert sizes == [(64, 32, 32), (64, 32, 32), (512, 4, 4)]
    # He initialisation: variance 2 / (64 * 3 * 3).
    assert model.conv1.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.15)
    plain: Any = timm_model("resnet18").build((channels, 32, 32), 5)
    assert plain.conv1.weight.shape == (64, channels, 7, 7)
    assert plain.forward_features(torch.zeros(2, channels, 32, 32)).shape[1:] == (512, 1, 1)


@pytest.mark.parametrize("architecture", ["convnext_atto", "test_vit", "test_resnet"])
def test_the_cifar_stem_is_refused_where_there_is_none_to_exchange(architecture: str) -> None:
    built = timm.create_model(architecture)
    assert not isinstance(getattr(built, "conv1", None), nn.Conv2d)
    assert architecture in refused("stem", lambda: timm_model(architecture, stem="cifar").build((3, 32, 32), 5))


@pytest.mark.parametrize(
    ("architecture", "inner"), [("resnet18", "layer1.0.conv1"), ("test_vit", "blocks.0.mlp.fc1")]
)
def test_activation_checkpointing_changes_neither_output_nor_gradients(architecture: str, inner: str) -> None:
    inputs, results, calls = torch.randn(4, 3, 32, 32), [], []
    state = None
    for checkpointing in (False, True):
        model = timm_model(architecture, activation_checkpointing=checkpointing).build((3, 32, 32), 5)
        state = {name: tensor.clone() for name, tensor in (state or model.state_dict()).items()}
        model.load_state_dict(state)
        calls.append(0)

        def count(*_: object) -> None:
            calls[-1] += 1

        model.get_submodule(inner).register_forward_hook(count)
        output = model.train()(inputs)
        nn.functional.cross_entropy(output, torch.arange(4)).backward()
        results.append([output.detach(), *(parameter.grad for parameter in model.parameters())])
    assert calls == [1, 2]  # so it did compute activations twice
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*results, strict=True))


def test_activation_checkpointing_is_refused_where_timm_has_none() -> None:
    builder = timm_model("vgg11", activation_checkpointing=True)
    assert "vgg11" in refused("activation_checkpointing", lambda: builder.build((3, 32, 32), 5))


@pytest.mark.parametrize("rate", ["drop_rate", "drop_path_rate"])
@pytest.mark.parametrize("architecture", ["test_vit", "resnet18"])
def test_drop_rates_reach_the_model(architecture: str, rate: str) -> None:
    inputs = torch.randn(8, 3, 32, 32)
    for settings, same in (({}, True), ({rate: 0.5}, False)):
        model = timm_model(architecture, **settings).build((3, 32, 32), 5)
        if architecture == "resnet18":
            assert model.drop_rate == settings.get("drop_rate", 0.0)
        for parameter in model.parameters():  # timm starts blocks of ResNets as identities
            nn.init.normal_(parameter, std=0.1)
        assert torch.equal(model.train()(inputs), model(inputs)) == same
        assert torch.equal(model.eval()(inputs), model(inputs))


def test_stochastic_depth_is_refused_where_timm_has_none() -> None:
    """VGG has no drop_path_rate: a TypeError of timm's is not what a user should see."""
    refused("drop_path_rate", lambda: timm_model("vgg11", drop_path_rate=0.1).build((3, 32, 32), 5))


@pytest.mark.parametrize("architecture", ["resnet18", "vit_tiny_patch16_224", "test_resnet"])
def test_images_are_normalised_as_timm_did(architecture: str) -> None:
    expected = resolve_data_config({}, model=timm.create_model(architecture))
    for settings in ({"pretrained": True}, {"weights": "mine.safetensors"}):
        mean, std = timm_model(architecture, **settings).normalization(3)
        assert (tuple(mean), tuple(std)) == (expected["mean"], expected["std"])
        assert timm_model(architecture, **settings).normalization(1) is None
    assert timm_model(architecture).normalization(3) is None  # from scratch, it expects nothing
