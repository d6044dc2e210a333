"""Weights from files."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from support.timm_weights import RESNET_HEAD, State, differing, loaded, of_timm, refused, timm_model, written


def plain(state: State) -> dict[str, Any]:
    return state


def behind_module(state: State) -> dict[str, Any]:
    return {f"module.{name}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize("inner", [plain, behind_module])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
def test_a_checkpoint_gives_exactly_what_was_saved(
    tmp_path: Path, wrapper: str | None, inner: Callable[[State], Any]
) -> None:
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


@pytest.mark.parametrize("prefix", ["", "model."])
def test_counters_of_batches_may_be_missing(tmp_path: Path, prefix: str) -> None:
    """As in a checkpoint of a run, where they do not travel."""
    state = of_timm("test_resnet", 5)
    counters = {name for name in state if name.endswith("num_batches_tracked")}
    path = written(tmp_path, {f"{prefix}{name}": state[name] for name in state if name not in counters})
    new = loaded(path, (3, 32, 32), 5)
    assert counters
    assert not any(new[name] for name in counters)
    assert (
        differing(
            {name: new[name] for name in state if name not in counters},
            {name: state[name] for name in state if name not in counters},
        )
        == set()
    )


class Bomb:
    """A pickle that runs code when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_that_would_run_code_is_refused_and_does_not_run_it(
    tmp_path: Path, write: Callable[..., Any], suffix: str
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: dict[str, Any], classes: int
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
        assert name[:12] in refused("weights", action)


def test_weights_come_from_one_place(tmp_path: Path) -> None:
    builder = timm_model("test_resnet", weights=str(tmp_path / "any"), pretrained=True)
    assert "pretrained" in refused("weights", builder.check)
    refused("weights", timm_model("test_resnet", weights="").check_weights)
    assert not timm_model("test_resnet").has_weights
    assert timm_model("test_resnet", pretrained=True).has_weights
