"""What cannot be a component is refused when it is registered, by class and method."""

import random
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedsim.aggregators import Aggregator, RoundContext, TolerantAggregator, UpdateMatrix, aggregators
from fedsim.aggregators.defence import Defence
from fedsim.aggregators.pre import PreAggregator
from fedsim.attacks import Attack, AttackView, attacks
from fedsim.data.augmentations import Augmentation
from fedsim.data.inputs import _augmented
from fedsim.errors import ConfigError
from fedsim.models import ModelBuilder, Task, models
from fedsim.registry import Registry
from fedsim.settings import Schema
from fedsim.training.losses import Loss, losses


class Sound(Attack):
    """An attack that lacks nothing."""

    def craft(self, view: AttackView) -> Tensor:
        return view.honest.mean()


class WithoutCraft(Attack):
    def craftt(self, view: AttackView) -> Tensor:
        return view.honest.mean()


class WithoutLargestF(TolerantAggregator):
    def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
        return updates.mean()


class WithoutContext(Aggregator):
    def aggregate(self, updates):  # type: ignore[no-untyped-def, override]
        return updates.mean()


class WithMore(Aggregator):
    def aggregate(self, updates, context, trust=0.5):  # type: ignore[no-untyped-def]
        return updates.mean()


class WithoutBuild(ModelBuilder):
    pass


class WithDictSettings(Sound):
    Settings = dict  # type: ignore[assignment]


class WithName(Sound):
    class Settings(Schema):
        name: str = "x"


class OwnSettings(Loss):
    class Settings(Schema):
        q: float = 1.0

    def of_samples(self, logits: Tensor, labels: Tensor) -> Tensor:
        return logits[:, 0]


@pytest.mark.parametrize(
    ("registry", "component", "says"),
    [
        (attacks, WithoutCraft, "attack 'x': the class WithoutCraft lacks craft"),
        (aggregators, WithoutLargestF, "the class WithoutLargestF lacks largest_f"),
        (
            aggregators,
            WithoutContext,
            "WithoutContext.aggregate(self, updates) cannot be called as fedsim does",
        ),
        (aggregators, WithoutContext, "write def aggregate(self, updates, context)"),
        (models, WithoutBuild, "model 'x': the class WithoutBuild lacks build"),
        (attacks, WithDictSettings, "Settings of the class WithDictSettings are no Schema"),
        (attacks, WithName, "a setting is called name"),
        (losses, OwnSettings, "lack class_weights, which Loss reads; write class Settings(Loss.Settings):"),
        (
            aggregators,
            Sound,
            "aggregator 'x' is the class Sound, which derives from Attack; derive it from Aggregator",
        ),
        (attacks, nn.Linear, "which derives from Module"),
        (attacks, Sound(), "attack 'x' is no class but"),
        (attacks, len, "attack 'x' is no class but"),
    ],
)
def test_what_is_no_component_is_refused(registry: Registry[Any], component: object, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.register("x")(cast(Any, component))
    assert says in str(caught.value)
    assert "x" not in registry.describe()


def test_a_method_may_take_more() -> None:
    aggregators.register("with_more")(WithMore)
    aggregators.forget([WithMore.__module__])


def test_a_name_of_the_field_leads_to_the_component() -> None:
    for word, name in {"median": "cwmed", "trimmed-mean": "cwtm", "Geometric_Median": "rfa", "krumm": "krum"}.items():
        with pytest.raises(ConfigError, match=f"did you mean '{name}'.* --list names all"):
            aggregators.get(word)


@pytest.mark.parametrize("name", ["my attack", "my-attack", "", "2x", "a.b"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name an attack; use letters, digits and _, as in my_attack"):
        attacks.register(name)


def test_a_decorator_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'write register\("..."\) before Sound'):
        attacks.register(cast(Any, Sound))


def test_a_model_of_token_ids_needs_no_build() -> None:
    class OfTokens(ModelBuilder):
        def build_for(self, task: Task) -> nn.Module:
            return nn.Identity()

    models.register("of_tokens")(cast(Any, OfTokens))
    assert "of_tokens" in models.describe()


# Draws of global generators --------------------------------------------------------------------------------


def draws() -> list[float]:
    """One of each global generator."""
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]


class Drawing(Attack):
    name = "drawing"

    def craft(self, view: AttackView) -> Tensor:
        return torch.tensor(draws())


def view(round_index: int = 0, seed: int = 0) -> AttackView:
    rows = UpdateMatrix(torch.ones(1, 3))
    generator = torch.Generator().manual_seed(seed)
    context = RoundContext(round=round_index, client_ids=(0, 1), generator=generator)
    return AttackView(honest=rows, own=rows, context=context)


def test_a_careless_draw_depends_on_the_seed_of_the_call_alone() -> None:
    attack = Drawing()
    first = attack(view())
    draws()
    assert torch.equal(attack(view()), first)
    assert not torch.equal(attack(view(seed=1)), first)


def test_the_generators_around_a_call_go_on_as_if_there_were_none() -> None:
    def after(call: bool) -> list[float]:
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        if call:
            Drawing()(view())
        return draws()

    assert after(call=True) == after(call=False)


def test_members_of_a_defence_draw_apart() -> None:
    seen: list[list[float]] = []

    class Pre(PreAggregator):
        def __call__(self, updates: UpdateMatrix, context: RoundContext) -> tuple[UpdateMatrix, RoundContext]:
            seen.append(draws())
            return updates, context

    class Last(Aggregator):
        def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
            seen.append(draws())
            return updates.mean()

    alone, together = Defence(Last()), Defence(Last(), [Pre(), Pre()])
    rows, context = torch.ones(2, 3), RoundContext.of(2)
    together(rows, context)
    alone(rows, context)
    assert len({tuple(each) for each in seen[:3]}) == 3
    assert seen[3] == seen[2]  # whatever comes before


def test_the_constructor_draws_the_same_in_every_process() -> None:
    class Direction(Sound):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.drawn = draws()

    attacks.register("direction")(Direction)
    one, other = (cast(Direction, attacks.build("direction")) for _ in range(2))
    assert one.drawn == other.drawn


def test_an_augmentation_draws_other_numbers_for_each_batch_and_leaves_its_generator_alone() -> None:
    class Careless(Augmentation):
        def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
            return torch.randint_like(images, 255)

    def two(between: int) -> list[Tensor]:
        generator, images = torch.Generator().manual_seed(3), torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
        first = _augmented(Careless(), images, generator)
        torch.rand(between, generator=generator)
        return [first, _augmented(Careless(), images, generator)]

    assert torch.equal(two(1)[0], two(1)[0])
    assert torch.equal(two(1)[1], two(1)[1])
    assert not torch.equal(*two(1))
    assert torch.equal(*two(0))  # its own draws are those of the generator's state


def test_a_constructor_that_forgets_the_one_above_is_named() -> None:
    class Forgets(Sound):
        def __init__(self, **settings: Any) -> None:
            self.count = 0

    attacks.register("forgets")(Forgets)
    with pytest.raises(ConfigError, match=r"'forgets' \(Forgets in test_registry.py\): its __init__ does not call"):
        attacks.build("forgets")
