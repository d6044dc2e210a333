"""What components return, and what they do to what they are given, is checked: the message names class and file."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedsim.aggregators import Aggregator, Diagnostics, RoundContext, UpdateMatrix, aggregators
from fedsim.aggregators.defence import Defence
from fedsim.aggregators.pre import PreAggregator, pre_aggregators
from fedsim.attacks import Attack, AttackView
from fedsim.data.partitioners import Partitioner
from fedsim.errors import ComponentError
from fedsim.models import ModelBuilder, Task
from fedsim.training.losses import Loss


def view() -> AttackView:
    return AttackView(honest=UpdateMatrix(torch.ones(2, 3)), own=UpdateMatrix(torch.zeros(1, 3)))


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

    with pytest.raises(ComponentError, match=rf"^'wrong' \(Wrong in test_returned_values.py\): {says}"):
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

    with pytest.raises(ComponentError, match=r"InPlace in .*\): craft has changed the rows of its view"):
        InPlace()(view())
    with pytest.raises(ComponentError, match=r"Clamps in .*\): aggregate has changed the updates"):
        Clamps()(torch.ones(3, 2))


@pytest.mark.parametrize(
    ("diagnostics", "says"),
    [
        ({"x": 1}, "its diagnostics are dict, not Diagnostics"),
        (Diagnostics(scalars={"length": torch.ones(())}), "its diagnostic 'length' is Tensor, not a number"),  # type: ignore[dict-item]
    ],
)
def test_diagnostics_that_cannot_be_recorded_are_named(diagnostics: Any, says: str) -> None:
    class Reports(Aggregator):
        name = "reports"

        def aggregate(self, updates: UpdateMatrix, context: RoundContext) -> Tensor:
            self.diagnostics = diagnostics
            return updates.mean()

    with pytest.raises(ComponentError, match=says):
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
