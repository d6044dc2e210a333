"""Models of torchvision: names, sizes, channels, weights."""

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models as theirs
from safetensors.torch import load_file, save_file

from fedsim.models import ModelBuilder, models
from support.timm_weights import State, differing, refused

SQUEEZENET = Path(__file__).resolve().parents[3] / "../shared/data/squeezenet1_0_imagenet.safetensors"
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def of(architecture: str, **settings: Any) -> ModelBuilder:
    return models.build("torchvision", architecture=architecture, **settings)


def written(folder: Path, state: State) -> Path:
    save_file({name: tensor.clone() for name, tensor in state.items()}, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def loaded(path: Path, architecture: str, shape: tuple[int, ...], classes: int) -> State:
    return of(architecture, weights=str(path)).build_with_weights(shape, classes).state_dict()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        ("resnet18", 32),
        ("squeezenet1_0", 32),
        ("shufflenet_v2_x0_5", 32),
        ("mobilenet_v3_small", 32),
        ("googlenet", 32),
        ("regnet_y_400mf", 32),
        ("mnasnet0_5", 32),
    ],
)
def test_a_model_takes_any_channels_size_and_classes_in_training_too(
    architecture: str, size: int, channels: int
) -> None:
    model = of(architecture).build((channels, size, size), 7).train()
    assert model(torch.zeros(2, channels, size, size)).shape == (2, 7)


def test_a_model_from_the_same_seed_equals_torchvisions_own() -> None:
    torch.manual_seed(3)
    ours = of("resnet18").build((3, 32, 32), 5).state_dict()
    torch.manual_seed(3)
    assert not differing(ours, theirs.resnet18(num_classes=5).state_dict())


def test_a_stem_for_grey_images_is_as_spread_as_that_for_colours() -> None:
    grey: Any = of("resnet18").build((1, 32, 32), 5)
    colour: Any = of("resnet18").build((3, 32, 32), 5)
    assert grey.conv1.weight.std().item() == pytest.approx(colour.conv1.weight.std().item(), rel=0.1)
    assert (grey.conv1.stride, grey.conv1.padding) == (colour.conv1.stride, colour.conv1.padding)


def test_names_are_checked() -> None:
    assert "resnet18" in refused("architecture", of("resnet_18").check)
    assert "IMAGENET1K_V2" in refused("architecture", of("resnet50.IMAGENET1K_V3").check)
    of("resnet50.IMAGENET1K_V2").check()
    refused("architecture", of("").check)
    refused("architecture", of("deeplabv3_resnet50").check)  # no classifier
    refused("weights", of("resnet18", pretrained=True, weights="any").check)


@pytest.mark.parametrize("shape", [(12,), (28, 28)])
def test_inputs_that_are_no_images_are_refused(shape: tuple[int, ...]) -> None:
    assert str(list(shape)) in refused("name", lambda: of("resnet18").build(shape, 5))


@pytest.mark.parametrize("architecture", ["alexnet", "maxvit_t"])
def test_images_that_are_too_small_are_refused_in_words(architecture: str) -> None:
    assert f"'{architecture}' cannot take images of 16 x 16" in refused(
        "architecture", lambda: of(architecture).build((3, 16, 16), 5)
    )


def test_a_file_gives_what_was_saved_and_grey_images_the_sum_of_its_stem(tmp_path: Path) -> None:
    state = theirs.resnet18(num_classes=5).state_dict()
    path = written(tmp_path, state)
    assert not differing(loaded(path, "resnet18", (3, 32, 32), 5), state)
    grey = loaded(path, "resnet18", (1, 32, 32), 7)
    assert differing(grey, state) == {"conv1.weight", "fc.weight", "fc.bias"}
    assert torch.allclose(grey["conv1.weight"], state["conv1.weight"].sum(1, keepdim=True), atol=1e-6)


def test_a_file_with_second_outputs_gives_the_rest(tmp_path: Path) -> None:
    """GoogLeNet's are for training only, and a run has none."""
    state = theirs.googlenet(num_classes=5, init_weights=False, aux_logits=True).state_dict()
    own = loaded(written(tmp_path, state), "googlenet", (3, 32, 32), 5)
    assert not differing(own, {name: tensor for name, tensor in state.items() if not name.startswith("aux")})


def test_places_of_a_vision_transformer_are_interpolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import vision_transformer

    options = {"patch_size": 8, "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 16}

    def tiny(
        *, image_size: int, num_classes: int, weights: theirs.ViT_B_16_Weights | None = None
    ) -> vision_transformer.VisionTransformer:
        return vision_transformer.VisionTransformer(image_size=image_size, num_classes=num_classes, **options)

    monkeypatch.setattr(tiny, "__module__", "torchvision.models.vision_transformer")
    monkeypatch.setitem(theirs._api.BUILTIN_MODELS, "vit_b_16", tiny)
    state = tiny(image_size=32, num_classes=5).state_dict()
    own = loaded(written(tmp_path, state), "vit_b_16", (3, 64, 64), 5)
    assert differing(own, state) == {"encoder.pos_embedding"}
    old, new = state["encoder.pos_embedding"][0], own["encoder.pos_embedding"][0]  # [1 + 4 x 4, E] and [1 + 8 x 8, E]
    assert torch.equal(new[0], old[0])  # belongs to no place
    corners = [
        torch.stack([grid[0], grid[side - 1], grid[-side], grid[-1]]) for grid, side in ((old[1:], 4), (new[1:], 8))
    ]
    assert torch.allclose(corners[0], corners[1], atol=1e-6)
    assert torch.allclose(old[1:].mean(0), new[1:].mean(0), atol=0.02)


def test_images_are_normalised_as_the_weights_were_trained() -> None:
    expected = theirs.ResNet18_Weights.DEFAULT.transforms()
    for settings in ({"pretrained": True}, {"weights": "mine.safetensors"}):
        assert of("resnet18", **settings).normalization(3) == (expected.mean, expected.std)
        assert of("resnet18", **settings).normalization(1) is None
    assert of("resnet18").normalization(3) is None


def test_published_weights_are_read_from_torchs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(socket, "create_connection", lambda *_: pytest.fail("tried to connect"))
    state = theirs.shufflenet_v2_x0_5().state_dict()
    url = theirs.ShuffleNet_V2_X0_5_Weights.DEFAULT.url
    (tmp_path / "checkpoints").mkdir()
    torch.save(state, tmp_path / "checkpoints" / url.rsplit("/", 1)[-1])
    builder = of("shufflenet_v2_x0_5", pretrained=True)
    monkeypatch.setattr(theirs.ShuffleNet_V2_X0_5_Weights.DEFAULT, "get_state_dict", lambda **_: state)
    builder.check_weights()
    assert differing(builder.build_with_weights((3, 32, 32), 5).state_dict(), state) == {"fc.weight", "fc.bias"}


def test_weights_out_of_reach_are_reported_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(socket, "create_connection", refuse)
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    message = refused("pretrained", of("resnet18", pretrained=True).check_weights)
    for part in ("download.pytorch.org", "get_model('resnet18', weights='IMAGENET1K_V1')", "$TORCH_HOME"):
        assert part in message


@pytest.mark.skipif(not SQUEEZENET.is_file(), reason="the shared data are not here")
def test_real_weights_load_and_their_head_is_a_convolution() -> None:
    state = load_file(SQUEEZENET)
    builder = of("squeezenet1_0", weights=str(SQUEEZENET))
    assert not differing(builder.build_with_weights((3, 64, 64), 1000).state_dict(), state)
    own = builder.build_with_weights((3, 64, 64), 8).state_dict()
    assert differing(own, state) == {"classifier.1.weight", "classifier.1.bias"}
    assert own["classifier.1.weight"].shape == (8, 512, 1, 1)
    assert builder.normalization(3) == IMAGENET
