"""Models: what timm builds, weights from files and hubs, and training only part of a model."""

import io
import json
import pickle
import socket
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import fedsim.main
from fedsim.errors import ConfigError
from fedsim.models import ModelBuilder, models
from fedsim.training.freezing import freeze, set_training
from fedsim.updates.model_rows import ModelRows
from support.launch import torchrun
from support.runs import final_state

State = dict[str, Tensor]

RESNET_HEAD = {"fc.weight", "fc.bias"}

PRETRAINED = {"architecture": "resnet18", "pretrained": True}


def timm_model(architecture: str, **settings: object) -> ModelBuilder:
    return models.build("timm", architecture=architecture, **settings)


def of_timm(architecture: str, classes: int, channels: int = 3, **options: object) -> State:
    """Parameters and buffers of a model that timm made by itself, buffers being other than at the start."""
    model = timm.create_model(architecture, num_classes=classes, in_chans=channels, **options)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor += 0.01 * torch.rand(tensor.shape)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def written(folder: Path, state: State) -> Path:
    save_file(state, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def loaded(
    path: Path, shape: tuple[int, ...], classes: int, architecture: str = "test_resnet", **more: object
) -> State:
    builder = timm_model(architecture, weights=str(path), **more)
    assert builder.has_weights
    builder.check()
    builder.check_weights()
    return builder.build_with_weights(shape, classes).state_dict()


def differing(a: State, b: State) -> set[str]:
    assert a.keys() == b.keys()
    return {name for name in a if not torch.equal(a[name], b[name])}


def refused(key: str, action: Callable[[], object]) -> str:
    """The message of the ConfigError that the action must raise."""
    with pytest.raises(ConfigError) as caught:
        action()
    assert caught.value.key == key, str(caught.value)
    assert caught.value.remedy, str(caught.value)
    return str(caught.value)


@pytest.fixture
def nothing_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has never fetched weights, with a hub that refuses connections."""
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for name in (
        "HF_HUB_OFFLINE",
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)


# Own models


@pytest.mark.parametrize(
    ("hidden", "shapes"),
    [([], [(5, 12), (5,)]), ([7, 6], [(7, 12), (7,), (6, 7), (6,), (5, 6), (5,)])],
)
def test_an_mlp_has_the_layers_asked_for(hidden: list[int], shapes: list[tuple[int, ...]]) -> None:
    model = models.build("mlp", hidden=hidden).build((3, 2, 2), 5)
    assert [tuple(parameter.shape) for parameter in model.parameters()] == shapes
    assert model(torch.zeros(4, 3, 2, 2)).shape == (4, 5)


def test_a_small_cnn_has_the_layers_asked_for() -> None:
    model = models.build("small_cnn", width=4, hidden=9, batch_norm=True, dropout=0.25).build((3, 20, 24), 5)
    # 20 -> 16 -> 8 -> 4 -> 2 and 24 -> 20 -> 10 -> 6 -> 3 pixels.
    assert [tuple(parameter.shape) for parameter in model.parameters()] == [
        *[(4, 3, 5, 5), (4,), (4,), (4,)],
        *[(8, 4, 5, 5), (8,), (8,), (8,)],
        *[(9, 8 * 2 * 3), (9,), (5, 9), (5,)],
    ]
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.25]
    assert all(module.training for module in model.modules())
    assert model(torch.zeros(4, 3, 20, 24)).shape == (4, 5)
    plain = models.build("small_cnn", width=4, hidden=9).build((3, 20, 24), 5)
    assert not list(plain.buffers())


def test_building_a_small_cnn_leaves_its_batch_statistics_at_the_start() -> None:
    model = models.build("small_cnn", batch_norm=True).build((1, 16, 16), 5)
    fresh = nn.BatchNorm2d(16)
    assert torch.equal(model[0][1].running_mean, fresh.running_mean)
    assert torch.equal(model[0][1].running_var, fresh.running_var)


@pytest.mark.parametrize("name", ["mlp", "small_cnn"])
def test_own_models_have_no_weights_and_nothing_to_check(name: str) -> None:
    builder = models.build(name)
    assert not builder.has_weights
    builder.check()
    builder.check_weights()
    assert builder.normalization(3) is None


# timm's models


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
    model = timm_model(architecture).build((3, height, width), 5)
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
    model = timm_model("resnet18", stem="cifar").build((channels, 32, 32), 5)
    assert model.conv1.weight.shape == (64, channels, 3, 3)
    assert model.conv1.bias is None
    sizes: list[tuple[int, ...]] = []
    for layer in (model.conv1, model.layer1, model.layer4):
        layer.register_forward_hook(lambda _, __, out: sizes.append(tuple(out.shape[1:])))
    assert model(torch.zeros(2, channels, 32, 32)).shape == (2, 5)
    assert sizes == [(64, 32, 32), (64, 32, 32), (512, 4, 4)]
    # He initialisation: variance 2 / (64 * 3 * 3).
    assert model.conv1.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.15)
    plain = timm_model("resnet18").build((channels, 32, 32), 5)
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
    expected = timm.data.resolve_data_config({}, model=timm.create_model(architecture))
    mean, std = timm_model(architecture).normalization(3)
    assert (tuple(mean), tuple(std)) == (expected["mean"], expected["std"])
    assert timm_model(architecture).normalization(1) is None


# Weights from files


def plain(state: State) -> dict:
    return state


def behind_module(state: State) -> dict:
    return {f"module.{name}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize("inner", [plain, behind_module])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
def test_a_checkpoint_gives_exactly_what_was_saved(tmp_path: Path, wrapper: str | None, inner: Callable) -> None:
    state = of_timm("test_resnet", 1000)
    content = inner(state)
    torch.save(content if wrapper is None else {"epoch": 3, wrapper: content}, tmp_path / "weights.pth")
    assert not differing(loaded(tmp_path / "weights.pth", (3, 32, 32), 1000), state)


@pytest.mark.parametrize("classes", [5, 1000])
@pytest.mark.parametrize("architecture", ["test_resnet", "resnet18", "test_convnext", "test_byobnet"])
def test_a_safetensors_file_gives_exactly_what_was_saved(tmp_path: Path, architecture: str, classes: int) -> None:
    state = of_timm(architecture, classes)
    assert not differing(loaded(written(tmp_path, state), (3, 32, 32), classes, architecture), state)


@pytest.mark.parametrize("classes", [5, 1000])
def test_a_vision_transformer_of_this_size_gives_exactly_what_was_saved(tmp_path: Path, classes: int) -> None:
    state = of_timm("test_vit", classes, img_size=32)
    assert not differing(loaded(written(tmp_path, state), (3, 32, 32), classes, "test_vit"), state)


def test_a_vision_transformer_of_another_size_differs_in_its_places_only(tmp_path: Path) -> None:
    state = of_timm("test_vit", 5)
    model = timm_model("test_vit", weights=str(written(tmp_path, state))).build_with_weights((3, 32, 32), 5)
    own = model.state_dict()
    assert own["pos_embed"].shape[1] == 5
    assert {name for name in own if not torch.equal(own[name], state[name])} == {"pos_embed"}


def test_a_model_with_two_heads_gives_exactly_what_was_saved(tmp_path: Path) -> None:
    """timm names both heads of a distilled transformer; a file with this many classes fits them."""
    name = "deit_tiny_distilled_patch16_224"
    state = of_timm(name, 5, img_size=32)
    assert not differing(loaded(written(tmp_path, state), (3, 32, 32), 5, name), state)


@pytest.mark.parametrize(("saved", "asked"), [(1000, 5), (5, 1000), (5, 7)])
@pytest.mark.parametrize(
    ("architecture", "head"),
    [("test_resnet", {"head.fc.weight", "head.fc.bias"}), ("resnet18", RESNET_HEAD)],
)
def test_other_classes_keep_all_but_the_head(
    tmp_path: Path, architecture: str, head: set[str], saved: int, asked: int
) -> None:
    state = of_timm(architecture, saved)
    if architecture == "test_resnet" and not head <= state.keys():
        head = RESNET_HEAD
    own = loaded(written(tmp_path, state), (3, 32, 32), asked, architecture)
    assert differing(own, state) == head
    assert {len(own[name]) for name in head} == {asked}
    assert own[min(head - {"x"}, key=len)].isfinite().all()


def test_a_checkpoint_without_a_head_gives_all_the_rest(tmp_path: Path) -> None:
    state = of_timm("resnet18", 5)
    body = {name: tensor for name, tensor in state.items() if name not in RESNET_HEAD}
    assert differing(loaded(written(tmp_path, body), (3, 32, 32), 5, "resnet18"), state) == RESNET_HEAD


def test_other_channels_adapt_the_stem_as_timm_does(tmp_path: Path) -> None:
    state = of_timm("resnet18", 5)
    own = loaded(written(tmp_path, state), (1, 32, 32), 5, "resnet18")
    assert differing(own, state) == {"conv1.weight"}
    assert torch.allclose(own["conv1.weight"], state["conv1.weight"].sum(1, keepdim=True), atol=1e-6)


@pytest.mark.parametrize("classes", [5, 7])
def test_weights_for_one_channel_stay_as_they_are_on_grey_images(tmp_path: Path, classes: int) -> None:
    state = of_timm("resnet18", 5, channels=1)
    own = loaded(written(tmp_path, state), (1, 32, 32), classes, "resnet18")
    assert differing(own, state) == (set() if classes == 5 else RESNET_HEAD)


def test_a_model_with_the_cifar_stem_can_be_saved_and_read_again(tmp_path: Path) -> None:
    state = timm_model("resnet18", stem="cifar").build((3, 32, 32), 5).state_dict()
    own = loaded(written(tmp_path, state), (3, 32, 32), 5, "resnet18", stem="cifar")
    assert not differing(own, state)


def test_weights_with_the_usual_stem_give_all_but_the_cifar_stem(tmp_path: Path) -> None:
    state = of_timm("resnet18", 5)
    own = loaded(written(tmp_path, state), (3, 32, 32), 5, "resnet18", stem="cifar")
    assert differing(own, state) == {"conv1.weight"}


def test_weights_and_rates_go_together(tmp_path: Path) -> None:
    state = of_timm("resnet18", 5)
    more = {"drop_rate": 0.2, "drop_path_rate": 0.2, "activation_checkpointing": True}
    assert not differing(loaded(written(tmp_path, state), (3, 32, 32), 5, "resnet18", **more), state)


def test_a_home_folder_may_be_abbreviated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    state = of_timm("test_resnet", 5)
    written(tmp_path, state)
    assert not differing(loaded(Path("~/weights.safetensors"), (3, 32, 32), 5), state)


@pytest.mark.parametrize(
    ("saved", "asked", "architecture", "classes"),
    [
        ("resnet34", "resnet18", 5, 5),
        ("resnet34", "resnet18", 5, 7),
        ("resnet18", "resnet34", 5, 7),
        ("test_vit", "resnet18", 1000, 1000),
        ("test_vit", "resnet18", 1000, 5),
        ("test_convnext", "resnet18", 5, 5),
        ("test_convnext", "test_vit", 5, 7),
        ("test_resnet", "resnet18", 5, 7),
    ],
)
def test_weights_of_another_architecture_are_refused(
    tmp_path: Path, saved: str, asked: str, architecture: int, classes: int
) -> None:
    path = written(tmp_path, of_timm(saved, architecture))
    builder = timm_model(asked, weights=str(path))
    message = refused("weights", lambda: builder.build_with_weights((3, 32, 32), classes))
    assert str(path) in message
    assert asked in message


@pytest.mark.parametrize("classes", [5, 7])
def test_weights_that_lack_a_layer_are_refused(tmp_path: Path, classes: int) -> None:
    state = {name: tensor for name, tensor in of_timm("resnet18", 5).items() if not name.startswith("layer4.1")}
    builder = timm_model("resnet18", weights=str(written(tmp_path, state)))
    message = refused("weights", lambda: builder.build_with_weights((3, 32, 32), classes))
    assert "layer4.1" in message


class Bomb:
    """A pickle that runs code when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_that_would_run_code_is_refused_and_does_not_run_it(
    tmp_path: Path, write: Callable, suffix: str
) -> None:
    marker, path = tmp_path / "ran", tmp_path / f"weights.{suffix}"
    write({"state_dict": {"fc.weight": torch.ones(2), "bomb": Bomb(marker)}}, path)
    builder = timm_model("test_resnet", weights=str(path))
    assert str(path) in refused("weights", lambda: builder.build_with_weights((3, 32, 32), 5))
    assert not marker.exists()
    if write is torch.save:
        torch.load(io.BytesIO(path.read_bytes()), weights_only=False)
    else:
        pickle.loads(path.read_bytes())  # noqa: S301
    assert marker.exists()  # so the file was one that would have run code


def tensors_in(path: Path) -> bytes:
    content = io.BytesIO()
    torch.save({"fc.weight": torch.ones(100)}, content)
    return content.getvalue()


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"(", b"these are not weights\n" * 20, b"\x80\x02.", b"PK\x03\x04", b"\x00" * 100, b"}q."]
)
def test_a_file_that_holds_no_weights_is_refused_by_name(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    builder = timm_model("test_resnet", weights=str(path))
    message = refused("weights", lambda: builder.build_with_weights((3, 32, 32), 5))
    assert str(path) in message
    assert "\n" not in message


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, suffix: str, share: float) -> None:
    path, state = tmp_path / f"weights.{suffix}", of_timm("test_resnet", 5)
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    assert not differing(loaded(path, (3, 32, 32), 5), state)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    builder = timm_model("test_resnet", weights=str(path))
    assert str(path) in refused("weights", lambda: builder.build_with_weights((3, 32, 32), 5))


@pytest.mark.parametrize(
    "content",
    [[torch.ones(2)], {"fc.weight": torch.ones(2), "epoch": 3}, 7, {"state_dict": [torch.ones(2)]}],
)
def test_a_checkpoint_of_something_else_is_refused_by_name(tmp_path: Path, content: object) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    builder = timm_model("test_resnet", weights=str(path))
    assert str(path) in refused("weights", lambda: builder.build_with_weights((3, 32, 32), 5))


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}])
@pytest.mark.parametrize("classes", [5, 1000])
def test_a_checkpoint_of_no_tensors_is_refused_and_does_not_lead_to_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: dict, classes: int
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)

    def fetch(*_: object, **__: object) -> State:
        pytest.fail("went to the hub, though the user named a file")

    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", fetch)
    builder = timm_model("test_resnet", weights=str(path))
    assert str(path) in refused("weights", lambda: builder.build_with_weights((3, 32, 32), classes))


@pytest.mark.parametrize("name", ["absent.pth", "absent.safetensors", "folder.pth", "folder.safetensors", "x" * 300])
def test_a_folder_and_a_missing_file_are_refused_before_the_run(tmp_path: Path, name: str) -> None:
    if name.startswith("folder"):
        (tmp_path / name).mkdir()
    builder = timm_model("test_resnet", weights=str(tmp_path / name))
    for action in (builder.check_weights, lambda: builder.build_with_weights((3, 32, 32), 5)):
        assert name in refused("weights", action)


def test_weights_come_from_one_place(tmp_path: Path) -> None:
    builder = timm_model("test_resnet", weights=str(tmp_path / "any"), pretrained=True)
    assert "pretrained" in refused("weights", builder.check)
    with pytest.raises(ConfigError, match="weights"):
        timm_model("test_resnet", weights="")
    assert not timm_model("test_resnet").has_weights
    assert timm_model("test_resnet", pretrained=True).has_weights


# Weights from the hub


def no_connection(*_: object, **__: object) -> None:
    pytest.fail("tried to connect")


@pytest.mark.usefixtures("nothing_cached")
@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "https://no-such-host.invalid"])
def test_a_hub_out_of_reach_is_told_at_once(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    start = time.monotonic()
    message = refused("pretrained", timm_model("resnet18", pretrained=True).check_weights)
    assert time.monotonic() - start < 5
    for part in ("resnet18", "timm.create_model('resnet18.a1_in1k', pretrained=True)", "model.weights"):
        assert part in message
    timm_model("resnet18").check_weights()


@pytest.mark.usefixtures("nothing_cached")
def test_a_hub_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def silent(address: tuple[str, int], timeout: float = 1e9, *_: object) -> None:
        assert address == ("127.0.0.1", 9)
        waits.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", silent)
    refused("pretrained", timm_model("resnet18", pretrained=True).check_weights)
    assert sum(waits) <= 5
    assert waits


@pytest.mark.usefixtures("nothing_cached")
@pytest.mark.parametrize("value", ["1", "true", "YES", "ON"])
def test_offline_mode_does_not_even_try(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    monkeypatch.setattr(socket, "create_connection", no_connection)
    message = refused("pretrained", timm_model("resnet18", pretrained=True).check_weights)
    assert "HF_HUB_OFFLINE" in message
    assert "resnet18" in message


@pytest.mark.usefixtures("nothing_cached")
def test_a_file_in_the_cache_needs_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def cached(repo_id: str, filename: str, *_: object, **__: object) -> str:
        asked.append(repo_id)
        return f"/cache/{filename}"

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    monkeypatch.setattr(socket, "create_connection", no_connection)
    for offline in ("0", "1"):
        monkeypatch.setenv("HF_HUB_OFFLINE", offline)
        timm_model("resnet18", pretrained=True).check_weights()
    assert set(asked) == {timm.get_pretrained_cfg("resnet18").hf_hub_id}


@pytest.mark.usefixtures("nothing_cached")
def test_a_file_that_the_hub_is_known_not_to_have_is_not_in_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = huggingface_hub.file_download._CACHED_NO_EXIST
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: absent)
    refused("pretrained", timm_model("resnet18", pretrained=True).check_weights)


@pytest.mark.usefixtures("nothing_cached")
def test_a_hub_that_answers_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        timm_model("resnet18", pretrained=True).check_weights()
        server.settimeout(1)
        server.accept()[0].close()  # it was asked


@pytest.mark.usefixtures("nothing_cached")
@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        (None, ("huggingface.co", 443)),
        ("https://mirror.example", ("mirror.example", 443)),
        ("https://mirror.example:8443/hf", ("mirror.example", 8443)),
        ("http://mirror.example", ("mirror.example", 80)),
    ],
)
def test_the_hub_is_looked_for_where_the_user_says(
    monkeypatch: pytest.MonkeyPatch, endpoint: str | None, address: tuple[str, int]
) -> None:
    monkeypatch.delenv("HF_ENDPOINT") if endpoint is None else monkeypatch.setenv("HF_ENDPOINT", endpoint)
    asked: list[tuple[str, int]] = []

    def answer(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
        asked.append(address)
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", answer)
    timm_model("resnet18", pretrained=True).check_weights()
    assert asked == [address]


@pytest.mark.usefixtures("nothing_cached")
def test_a_hub_behind_a_proxy_is_within_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """On many clusters the hub is reached through $HTTPS_PROXY only: a direct connection proves nothing."""

    def only_the_proxy(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
        if address[0] != "proxy.example":
            raise OSError("Network is unreachable")
        return socket.socket()

    monkeypatch.setenv("HF_ENDPOINT", "https://huggingface.co")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setattr(socket, "create_connection", only_the_proxy)
    timm_model("resnet18", pretrained=True).check_weights()


def test_an_architecture_without_weights_is_refused() -> None:
    config = timm.get_pretrained_cfg("resnet10t")
    without = next(
        name
        for name in timm.list_models()
        if not (config := timm.get_pretrained_cfg(name)) or not (config.hf_hub_id or config.url)
    )
    assert config
    assert without in refused("pretrained", timm_model(without, pretrained=True).check_weights)


@pytest.mark.usefixtures("nothing_cached")
def test_the_check_tells_an_unreachable_hub_in_one_message(capfd: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    status = fedsim.main.main(
        [
            "--check",
            "model={name: timm, architecture: resnet18, pretrained: true}",
            "data={name: synthetic, shape: [3, 32, 32]}",
        ]
    )
    assert status == 2
    assert time.monotonic() - start < 10
    out, err = capfd.readouterr()
    assert out == ""
    lines = [line for line in err.splitlines() if line]
    assert len(lines) == 1, err
    assert "configuration error: model.pretrained: " in lines[0]


# Training only part of a model


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


CNN = {"width": 4, "hidden": 16, "batch_norm": True}
CNN_ROW = (4 * 75 + 4) + 2 * 4 + (8 * 100 + 8) + 2 * 8 + (8 * 16 + 16) + (16 * 4 + 4)
CNN_HEAD = (8 * 16 + 16) + (16 * 4 + 4)


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
    model = models.build("small_cnn", **CNN, dropout=0.5).build((3, 16, 16), 4)
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


# Through the program


SMALL = [
    "data={name: synthetic, num_train: 120, num_test: 40, num_classes: 4, shape: [3, 16, 16]}",
    "attack=[]",
    "clients={count: 4, batch_size: 8, local_steps: 2}",
    "aggregator={name: fedavg}",
    "tracking.tensorboard=false",
    "rounds=2",
]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[nn.Module, State]]:
    """The models of runs in this process, and their tensors as they were before the first round."""
    seen: list[tuple[nn.Module, State]] = []
    open_run = fedsim.main.open_run

    def spy(*arguments: object, **options: object) -> object:
        run = open_run(*arguments, **options)
        model = run.simulation._rows.model
        seen.append((model, {name: tensor.clone() for name, tensor in model.state_dict().items()}))
        return run

    monkeypatch.setattr(fedsim.main, "open_run", spy)
    return seen


def metrics(run: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "times"} for line in lines]


def test_a_run_leaves_frozen_tensors_untouched_and_sends_only_the_others(
    tmp_path: Path, opened: list[tuple[nn.Module, State]]
) -> None:
    model_of = "model={{name: small_cnn, width: 4, hidden: 16, batch_norm: true, freeze: [{}]}}"
    for name, patterns, row, buffers in (("all", "", CNN_ROW, 24), ("head", "0.*", CNN_HEAD, 0)):
        arguments = [*SMALL, model_of.format(f"'{patterns}'" if patterns else ""), f"output_dir={tmp_path}"]
        assert fedsim.main.main([*arguments, f"run_name={name}"]) == 0
        said = (tmp_path / name / "logs" / "rank_0.log").read_text()
        assert f"rows of {row} parameters and {buffers} buffer values" in said
        assert len(final_state(tmp_path / name, 2)) == row + buffers
        model, before = opened[-1]
        changed = differing(before, model.state_dict())
        head = {f"{layer}.{kind}" for layer in (1, 4) for kind in ("weight", "bias")}
        assert changed == head if patterns else changed > head | {"0.1.running_mean", "0.5.running_var", "0.0.weight"}


def test_a_model_whose_batch_norm_is_all_frozen_has_no_buffers_to_aggregate(tmp_path: Path) -> None:
    model = "model={name: small_cnn, width: 4, hidden: 16, batch_norm: true, freeze: ['0.*']}"
    for buffers in ("in_row", "cwmed", "mean"):
        for aggregator in ("cwmed", "fedavg"):
            arguments = [*SMALL, model, f"server.buffers={buffers}", f"aggregator={{name: {aggregator}}}"]
            names = [f"output_dir={tmp_path}", f"run_name={buffers}-{aggregator}"]
            assert fedsim.main.main([*arguments, *names]) == 0
            state = final_state(tmp_path / f"{buffers}-{aggregator}", 2)
            assert len(state) == CNN_HEAD
            assert torch.equal(state, final_state(tmp_path / f"in_row-{aggregator}", 2))


def test_a_run_starts_from_the_file(tmp_path: Path) -> None:
    """Clients that do not move leave the parameters as they came."""
    state = of_timm("test_resnet", 4)
    arguments = [*SMALL, f"model={{name: timm, architecture: test_resnet, weights: {written(tmp_path, state)}}}"]
    names = [f"output_dir={tmp_path}", "run_name=still", "clients.optimizer={name: sgd, lr: 0.0, momentum: 0.0}"]
    assert fedsim.main.main([*arguments, *names]) == 0
    parameters = [
        state[name].flatten() for name, _ in timm.create_model("test_resnet", num_classes=4).named_parameters()
    ]
    final = final_state(tmp_path / "still", 2)
    assert torch.equal(final[: sum(map(len, parameters))], torch.cat(parameters))


@pytest.mark.parametrize("more", [[], ["model.freeze=['conv1*','bn1*','layer*']"], ["runtime.channels_last=true"]])
def test_every_rank_has_the_weights_of_the_file(
    tmp_path: Path, more: list[str], opened: list[tuple[nn.Module, State]]
) -> None:
    state = of_timm("test_resnet", 4)
    arguments = [
        *SMALL,
        f"model={{name: timm, architecture: test_resnet, weights: {written(tmp_path, state)}}}",
        f"output_dir={tmp_path}",
        *more,
    ]
    assert fedsim.main.main([*arguments, "run_name=one"]) == 0
    assert not differing(opened[0][1], state)
    two = torchrun(2, *arguments, "run_name=two")
    assert two.status == 0, two.err
    assert torch.equal(final_state(tmp_path / "one", 2), final_state(tmp_path / "two", 2))
    assert metrics(tmp_path / "one") == metrics(tmp_path / "two")
    if "freeze" in "".join(more):
        frozen = {name for name, parameter in opened[0][0].named_parameters() if not parameter.requires_grad}
        assert frozen
        assert not differing(state, opened[0][0].state_dict()) & frozen


@pytest.mark.parametrize("says", ["there is no file", "does not fit test_resnet"])
def test_a_mistake_in_the_weights_is_one_message(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], says: str
) -> None:
    path = written(tmp_path, of_timm("test_vit", 4))
    if says == "there is no file":
        path.unlink()
    model = f"model={{name: timm, architecture: test_resnet, weights: {path}}}"
    assert fedsim.main.main([*SMALL, model, f"output_dir={tmp_path}"]) == 2
    err = capfd.readouterr().err
    assert err.count("configuration error: model.weights: ") == 1
    assert says in err
    assert "Traceback" not in err
