"""A user's own module: what it is given, and what is said of one that cannot be trained."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import fedsim.main
from fedsim.errors import FedsimWarning
from fedsim.models import ModelBuilder, Task, models
from support.plugin_files import plugin
from support.timm_weights import refused

NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, in_channels, num_classes, width=4):
        super().__init__()
        conv, head = nn.Conv2d(in_channels, width, 3), nn.LazyLinear(num_classes)
        self.layers = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), head)

    def forward(self, inputs):
        return self.layers(inputs)

class Small(Net):
    def __init__(self):
        super().__init__(1, 5)

class Needs(Net):
    def __init__(self, depth, num_classes):
        super().__init__(1, num_classes)

class Raises(nn.Module):
    def __init__(self):
        raise ValueError("no luck")

class Shape(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 5)

    def forward(self, inputs):
        return self.layer(inputs.flatten(1))

class Classes(Net):
    def __init__(self):
        super().__init__(1, 6)

class Unused(Small):
    def __init__(self):
        super().__init__()
        self.more = nn.Linear(2, 2)

class UnusedLazy(Small):
    def __init__(self):
        super().__init__()
        self.more = nn.LazyLinear(2)

class Double(Small):
    def __init__(self):
        super().__init__()
        self.double()

class Pair(Small):
    def forward(self, inputs):
        return super().forward(inputs), None

class Half(Small):
    def forward(self, inputs):
        return super().forward(inputs).half()

class Detached(Small):
    def forward(self, inputs):
        return super().forward(inputs).detach()

class Softmax(Small):
    def forward(self, inputs):
        return super().forward(inputs).softmax(1)

class NoParameters(nn.Module):
    def forward(self, inputs):
        return inputs

class Frozen(Small):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
        self.requires_grad_(False)

class Tokens(nn.Module):
    def __init__(self, vocabulary, num_classes, per_token):
        super().__init__()
        self.embedding, self.head, self.per_token = nn.Embedding(vocabulary, 4), nn.Linear(4, num_classes), per_token

    def forward(self, tokens):
        vectors = self.embedding(tokens)
        return self.head(vectors if self.per_token else vectors.mean(1))

class Tied(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.second, self.head = nn.Linear(64, 64), nn.Linear(64, num_classes)
        self.second.weight = self.first.weight

    def forward(self, inputs):
        return self.head(self.second(self.first(inputs.flatten(1))))

def make(input_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(input_shape).numel(), num_classes))

def nothing():
    return None

def anything(**options):
    return Net(1, 5, **options)
"""
SHAPE = (1, 8, 8)


def line_of(text: str) -> str:
    return f"line {1 + next(number for number, line in enumerate(NETS.splitlines()) if text in line)}"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return plugin(tmp_path / "nets.py", NETS, monkeypatch)


def of(file: Path, name: str, **arguments: Any) -> ModelBuilder:
    return models.build("module", path=f"{file}:{name}", arguments=arguments)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 10)])
def test_a_class_gets_what_it_asks_for_and_lazy_layers_their_shapes(file: Path, shape: tuple[int, ...]) -> None:
    model = of(file, "Net").build(shape, 5)
    assert model(torch.zeros(3, *shape)).shape == (3, 5)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert sum(p.numel() for p in model.parameters()) == 4 * (9 * shape[0] + 1) + 5 * (
        4 * math.prod(side - 2 for side in shape[1:]) + 1
    )


def test_arguments_reach_the_class_and_a_function_may_make_the_module(file: Path) -> None:
    assert of(file, "Net", width=7).build(SHAPE, 5).state_dict()["layers.0.weight"].shape[0] == 7
    assert of(file, "anything", width=7).build(SHAPE, 5).state_dict()["layers.0.weight"].shape[0] == 7
    assert of(file, "make").build((2, 3), 5)(torch.zeros(4, 2, 3)).shape == (4, 5)


def test_the_same_seed_gives_the_same_module(file: Path) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(0)
        states.append(of(file, "Net").build(SHAPE, 5).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(("per_token", "shape"), [(False, (3, 5)), (True, (3, 6, 5))])
def test_token_ids_come_with_their_vocabulary(file: Path, per_token: bool, shape: tuple[int, ...]) -> None:
    task = Task(input_shape=(6,), num_classes=5, vocabulary=11, per_token=per_token)
    assert of(file, "Tokens").build_for(task)(torch.full((3, 6), 10)).shape == shape


def test_a_class_that_reads_tokens_is_not_built_for_numbers(file: Path) -> None:
    assert "asks for vocabulary and per_token" in refused("path", lambda: of(file, "Tokens").build(SHAPE, 5))


def test_tied_weights_are_no_mistake(file: Path) -> None:
    assert len(list(of(file, "Tied").build(SHAPE, 5).parameters())) == 5


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Needs", "asks for depth, which nothing gives; write model.arguments.depth=..."),
        ("Raises", f"cannot be made: ValueError: no luck ({line_of('no luck')})"),
        ("Shape", "cannot take inputs of shape [2, 1, 8, 8]: RuntimeError: "),
        ("Shape", f"({line_of('self.layer(inputs.flatten')})"),
        ("Classes", "gives [2, 6] for inputs of shape [2, 1, 8, 8] and 5 classes, not [2, 5]"),
        ("UnusedLazy", "lazy layers that its forward does not use (more.weight and more.bias)"),
        ("Double", "has layers.0.weight, layers.0.bias, layers.3.weight and 1 more in float64"),
        ("Pair", "returns tuple; return the logits"),
        ("Half", "returns float16"),
        ("Detached", "does not depend on its parameters"),
        ("NoParameters", "has no parameters to train"),
        ("Frozen", "has no parameters to train"),
        ("nothing", "gives NoneType, which is no torch.nn.Module"),
    ],
)
def test_what_cannot_be_trained_is_named_in_one_sentence(file: Path, name: str, words: str) -> None:
    message = refused("path", lambda: of(file, name).build(SHAPE, 5))
    assert words in message
    assert f"nets.py:{name}" in message
    assert "\n" not in message


def test_parameters_without_a_part_in_the_output_are_named(file: Path) -> None:
    with pytest.warns(FedsimWarning, match=r"nets.py:Unused: more.weight and more.bias take no part"):
        of(file, "Unused").build(SHAPE, 5)


def test_probabilities_in_place_of_logits_are_named(file: Path) -> None:
    with pytest.warns(FedsimWarning, match=r"nets.py:Softmax seems to return probabilities"):
        of(file, "Softmax").build(SHAPE, 5)


def test_an_argument_that_the_class_does_not_take_suggests_the_nearest(file: Path) -> None:
    assert "did you mean 'width'?" in refused("arguments.widht", of(file, "Net", widht=3).check)


def test_a_run_with_a_module_of_ones_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "my_net.py"
    file.write_text(NETS)
    settings = ["rounds=1", "clients.count=3", "clients.local_steps=1", "attack.num_byzantine=1"]
    model = [f"output_dir={tmp_path}", "run_name=run", "model.name=module", f"model.path={file}:Net"]
    assert fedsim.main.main(["--check", *settings, *model]) == 2
    assert f"model.path: {file} was not given on the command line" in capfd.readouterr().err
    assert fedsim.main.main(["--check", *settings, *model, "--plugin", str(file)]) == 0
    assert fedsim.main.main([*settings, *model, "--plugin", str(file)]) == 0
    newest = tmp_path / "run/checkpoints/round_000001.safetensors"
    more = ["rounds=1", "run_name=again", f"model.weights={newest}"]
    assert fedsim.main.main([*settings, *model, *more, "--plugin", str(file)]) == 0
