"""What cannot be trained several clients at once is refused by name."""

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn

from fedsim.errors import ConfigError
from fedsim.models import models
from fedsim.training.freezing import freeze
from fedsim.training.optimizers import available_optimizers, optimizer_maker
from fedsim.training.vectorized_checks import require_elementwise, require_vectorizable
from support.texts import tiny
from support.vectorized import conv

IMAGE = (3, 32, 32)


class Unused(nn.Linear):
    def __init__(self) -> None:
        super().__init__(3, 2)
        self.idle = nn.Parameter(torch.zeros(2))


class Branching(nn.Linear):
    def __init__(self) -> None:
        super().__init__(3, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs if inputs.sum() > 0 else -inputs)


class Counting(nn.Linear):
    seen: Tensor

    def __init__(self) -> None:
        super().__init__(3, 2)
        self.register_buffer("seen", torch.zeros(3))

    def forward(self, inputs: Tensor) -> Tensor:
        self.seen += inputs.sum(dim=0)
        return super().forward(inputs)


class Averaging(Counting):
    def forward(self, inputs: Tensor) -> Tensor:
        self.seen = 0.9 * self.seen + inputs.mean(dim=0).detach()
        return nn.Linear.forward(self, inputs)


class Noisy(nn.Linear):
    def __init__(self) -> None:
        super().__init__(3, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) + torch.randn(2)


class Branches(nn.Module):
    """An innermost module that ends normally before another one fails."""

    def __init__(self) -> None:
        super().__init__()
        self.good, self.bad = nn.Linear(3, 3), nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.bad(self.good(inputs))
        return logits


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("make", "shape", "said"),
    [
        (lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), (3,), "module '1' (BatchNorm1d) normalises by"),
        (
            lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=False)),
            (3,),
            "module '1' (BatchNorm1d) normalises by its batch",
        ),
        (Branches, (3,), "module 'bad.1' (Dropout) draws at random"),
        (Noisy, (3,), "the model (Noisy) draws at random"),
        (Counting, (3,), "the model (Counting) changes its buffers"),
        (lambda: nn.Sequential(nn.Linear(3, 3), Averaging()), (3,), "the module '1' (Averaging) changes its buffers"),
        (
            lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, affine=True, track_running_stats=True)),
            IMAGE,
            "module '1' (InstanceNorm2d) changes its buffers",
        ),
        (Unused, (3,), "the parameter 'idle' takes no part in what the model computes; freeze it (model.freeze)"),
        (Branching, (3,), "the model (Branching) cannot be vectorised: "),
        (
            lambda: timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, drop_path_rate=0.1),
            IMAGE,
            "module 'blocks.1.drop_path1' (DropPath) draws at random",
        ),
    ],
)
def test_a_model_is_refused_by_the_name_of_its_module(
    make: Callable[[], nn.Module], shape: tuple[int, ...], said: str, device: str
) -> None:
    with torch.device(device):
        model = make()
    with pytest.raises(ConfigError) as caught:
        require_vectorizable(model, shape)
    assert caught.value.key == "clients.vectorize"
    assert said in str(caught.value)
    assert "set clients.vectorize: 1" in str(caught.value)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (conv, (3, 4, 4)),
        (lambda: models.build("small_cnn").build((1, 28, 28), 10), (1, 28, 28)),
        (lambda: models.build("mlp").build((1, 28, 28), 10), (1, 28, 28)),
        (lambda: timm.create_model("convnext_atto", num_classes=3), IMAGE),
    ],
)
def test_models_without_such_modules_pass_and_stay_as_they_are(
    make: Callable[[], nn.Module], shape: tuple[int, ...], device: str
) -> None:
    with torch.device(device):
        model = make()
    before, random = [value.clone() for value in model.parameters()], torch.get_rng_state()
    require_vectorizable(model, shape)
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    if device == "cpu":
        assert all(map(torch.equal, before, model.parameters()))


def test_a_batch_normalisation_that_is_frozen_keeps_to_its_statistics_and_passes() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    freeze(model, ["1.*"])
    require_vectorizable(model, (3,))


@pytest.mark.parametrize("name", sorted(available_optimizers()))
def test_every_optimiser_but_adafactor_steps_each_value_by_itself(name: str) -> None:
    make = optimizer_maker(name, {"lr": 0.05}, "x")
    if name != "adafactor":
        require_elementwise(make, name)
        return
    with pytest.raises(ConfigError, match=r"clients.vectorize: the optimiser adafactor does not step each value"):
        require_elementwise(make, name)


def test_an_optimiser_that_looks_at_a_whole_tensor_is_refused() -> None:
    class Normalised(torch.optim.SGD):
        def step(self, closure: object = None) -> None:
            for parameter in self.param_groups[0]["params"]:
                parameter.grad /= parameter.grad.norm()
            super().step()

    with pytest.raises(ConfigError, match="the optimiser normalised does not"):
        require_elementwise(lambda parameters: Normalised(parameters, lr=0.1), "normalised")


def test_an_lstm_is_refused_by_its_name_and_a_transformer_passes() -> None:
    with pytest.raises(ConfigError, match=r"the module 'encoder.lstm' \(LSTM\) cannot be vectorised"):
        require_vectorizable(tiny("lstm", 5, 4), (5,), token_ids=True)
    require_vectorizable(tiny("transformer", 5, 4), (5,), token_ids=True)
