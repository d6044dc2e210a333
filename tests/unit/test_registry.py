"""What cannot be a component is refused when it is registered, by class and method."""

import random
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedsim.aggregators import Aggregator, Diagnostics, RoundContext, TolerantAggregator, UpdateMatrix, aggregators
from fedsim.aggregators.defence import Defence
from fedsim.aggregators.pre import PreAggregator, pre_aggregators
from fedsim.attacks import Attack, AttackView, attacks
from fedsim.data.augmentations import Augmentation
from fedsim.data.inputs import _augmented
from fedsim.data.partitioners import Partitioner
from fedsim.errors import ComponentError, ConfigError
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


# What methods return ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (None, "craft returned nothing, not a tensor of floats on cpu"),
        ([1.0, 1.0, 1.0], "craft returned list"),
        (np.ones(3), "craft returned ndarray"),
        (torch.ones(3, dtype=torch.bool), "craft returned a tensor of torch.bool on cpu"),
        (torch.ones(3, device="meta"), "craft returned a tensor of torch.float32 on meta"),
        (torch.ones(3).to_sparse(), "craft returned a sparse tensor of torch.float32 on cpu"),
        (torch.ones(2), r"craft returned rows of shape \[2\], not \[1, 3\] or \[3\]"),
    ],
)
def test_rows_that_are_none_are_named_with_class_and_file(made: object, says: str) -> None:
    class Wrong(Attack):
        name = "wrong"

        def craft(self, view: AttackView) -> Tensor:
            return made  # type: ignore[return-value]

    with pytest.raises(ComponentError, match=rf"^'wrong' \(Wrong in test_registry.py\): {says}"):
        Wrong()(view())


def test_what_changes_the_rows_that_it_is_given_is_named() -> None:
    """Honest rows were the attack's then, and what was recorded of the clients that of rows nobody had sent."""

    class InPlace(Attack):
        name = "in_place"

        def craft(self, view: AttackView) -> Tensor:
            return view.honest.tensor().sub_(1.0)[0]

    class Clamps(Aggregator):
        name = "clamps"

        def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
            return updates.tensor().clamp_(max=0.5)[0]

    class Reports(Aggregator):
        name = "reports"

        def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
            self.diagnostics = {"x": 1}  # type: ignore[assignment]
            return updates.mean()

    with pytest.raises(
        ComponentError, match=r"InPlace in test_registry.py\): craft has changed the rows of its view"
    ):
        InPlace()(view())
    with pytest.raises(ComponentError, match=r"Clamps in test_registry.py\): aggregate has changed the updates"):
        Clamps()(torch.ones(3, 2))
    with pytest.raises(ComponentError, match="its diagnostics are dict, not Diagnostics"):
        Reports()(torch.ones(3, 2))


def test_a_diagnostic_is_a_number() -> None:
    class Reports(Aggregator):
        name = "reports"

        def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
            self.diagnostics = Diagnostics(scalars={"length": updates.mean().norm()})
            return updates.mean()

    with pytest.raises(ComponentError, match="its diagnostic 'length' is Tensor, not a number"):
        Reports()(torch.ones(3, 2))


def test_a_step_may_still_hold_a_graph() -> None:
    class Learns(Aggregator):
        name = "learns"

        def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
            weights = torch.full((updates.num_rows,), 0.5, requires_grad=True)
            return weights @ updates.tensor()

    assert not Learns()(torch.ones(2, 3)).requires_grad


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (None, "__call__ returned nothing, not"),
        (UpdateMatrix(torch.ones(2, 3)), "__call__ returned UpdateMatrix, not"),
        ((torch.ones(2, 3), RoundContext.of(2)), r"__call__ returned \(Tensor, RoundContext\), not"),
        ((UpdateMatrix(torch.ones(2, 4)), RoundContext.of(2)), r"made rows \[2, 4\] with 2 ids of \[2, 3\]"),
        ((UpdateMatrix(torch.ones(1, 3)), RoundContext.of(2)), r"made rows \[1, 3\] with 2 ids"),
    ],
)
def test_a_pre_aggregator_that_returns_something_else_is_named(made: object, says: str) -> None:
    class Wrong(PreAggregator):
        def __call__(self, updates: UpdateMatrix, context: RoundContext) -> tuple[UpdateMatrix, RoundContext]:
            return made  # type: ignore[return-value]

    pre_aggregators.register("wrong")(Wrong)
    with pytest.raises(ComponentError, match=says):
        Defence(aggregators.build("fedavg"), [pre_aggregators.build("wrong")])(torch.ones(2, 3))


@pytest.mark.parametrize(
    ("owners", "says"),
    [
        ([0, 1], "assign returned list"),
        (torch.zeros(3), r"assign returned torch.float32 of shape \[3\], not a whole number for each of 4"),
        (torch.zeros(4), r"assign returned torch.float32 of shape \[4\]"),
        (torch.tensor([0, 1, 2, 0]), "assign named clients 0 to 2, not 0 to 1"),
        (torch.tensor([0, -1, 0, 0]), "assign named clients -1 to 0, not 0 to 1"),
    ],
)
def test_owners_that_cannot_be_are_named(owners: Any, says: str) -> None:
    class Wrong(Partitioner):
        def assign(self, *arguments: Any) -> Tensor:
            return owners

    with pytest.raises(ComponentError, match=says):
        Wrong().partition(torch.zeros(4, dtype=torch.long), 2, torch.Generator())


def test_a_loss_that_is_a_mean_already_is_named() -> None:
    class Mean(Loss):
        def of_samples(self, logits: Tensor, labels: Tensor) -> Tensor:
            return logits.mean()

    class Nothing(Loss):
        def of_samples(self, logits: Tensor, labels: Tensor) -> Tensor:
            return None

    with pytest.raises(ComponentError, match="of_samples returned nothing, not a loss for each label"):
        Nothing().mean(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long), None)
    with pytest.raises(ComponentError, match=r"of_samples returned shape \[\], not \[2\]: a loss for each label"):
        Mean().mean(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long), None)


class Built(ModelBuilder):
    """Builds what it is given."""

    name = "built"

    def __init__(self, module: object) -> None:
        super().__init__()
        self.module = module

    def build(self, input_shape: tuple[int, ...], num_classes: int) -> nn.Module:
        return cast(nn.Module, self.module)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (len, "build returned builtin_function_or_method, not a torch.nn.Module"),
        (nn.Linear(4, 7), r"of inputs \[2, 4\] it makes \[2, 7\], not logits \[2, 3\]"),
        (nn.LSTM(4, 3), r"of inputs \[2, 4\] it makes \(Tensor, \(Tensor, Tensor\)\), not logits"),
    ],
)
def test_a_model_that_makes_no_logits_is_named(module: object, says: str) -> None:
    with pytest.raises(ComponentError, match=says):
        Built(module).try_out(module, Task(input_shape=(4,), num_classes=3))


def test_trying_a_model_out_changes_nothing() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    Built(module).try_out(module, Task(input_shape=(4,), num_classes=3))
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_constructor_that_forgets_the_one_above_is_named() -> None:
    class Forgets(Sound):
        def __init__(self, **settings: Any) -> None:
            self.count = 0

    attacks.register("forgets")(Forgets)
    with pytest.raises(ConfigError, match=r"'forgets' \(Forgets in test_registry.py\): its __init__ does not call"):
        attacks.build("forgets")
