"""What a client does with its samples, against plain PyTorch loops."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fedsim.data import TensorSamples
from fedsim.data.inputs import Inputs
from fedsim.seeds import seeded
from fedsim.training.client import ClientData, Trainer, batches, count_batches
from fedsim.training.local_steps import StepRules
from fedsim.training.losses import ClassCounts
from fedsim.training.losses.cross_entropy import CrossEntropy
from fedsim.training.losses.focal import Focal
from fedsim.training.optimizers import optimizer_maker
from fedsim.training.schedules import Schedule, schedules
from fedsim.updates.model_rows import ModelRows
from support.local_work import (
    CLASSES,
    CLIENT,
    LR,
    ROUND,
    SEED,
    SHARES,
    MakeModel,
    Plain,
    Trained,
    conv,
    mlp,
    rules,
    samples_for,
    smooth,
    work,
)

# The local work of a client


@pytest.mark.parametrize("make", [mlp, smooth, conv])
@pytest.mark.parametrize("settings", [{}, {"steps": 1}, {"steps": 7}, {"epochs": 3, "batch_size": 4}])
def test_plain_training_equals_a_plain_loop_bit_for_bit(make: MakeModel, settings: dict[str, Any]) -> None:
    trained, plain = Trained(make, work(**settings)), Plain(make, work(**settings))
    assert torch.equal(trained.after, plain.after)
    assert torch.equal(trained.out, trained.state - plain.after)
    assert not torch.equal(trained.after, trained.state)
    assert trained.loss == pytest.approx(sum(plain.losses) / len(plain.losses), rel=1e-6)


@pytest.mark.parametrize("make", [mlp, conv])
def test_a_single_client_over_several_rounds_equals_one_plain_loop_bit_for_bit(make: MakeModel) -> None:
    model, state = make(), None
    for round_index in range(4):
        at = {"round_index": round_index} if state is None else {"round_index": round_index, "state": state}
        trained = Trained(make, work(), None, **at)
        state = trained.after  # what Simulation hands out where one client's update is the step
        assert torch.equal(state, Plain(make, work(), round_index=round_index, model=model).after)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_other_optimizers_start_fresh_in_every_round(name: str) -> None:
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name]
    given = work(make_optimizer=optimizer_maker(name, {"lr": 0.01}, "x"))
    assert torch.equal(Trained(mlp, given).after, Plain(mlp, given, lr=0.01, optimizer=kind).after)


def test_a_proximal_term_of_zero_leaves_every_bit() -> None:
    assert torch.equal(Trained(mlp, work(rules=rules(proximal=0.0))).after, Plain(mlp, work()).after)


@pytest.mark.parametrize("make", [mlp, conv])
@pytest.mark.parametrize("mu", [0.1, 1.0, 5.0])
def test_the_proximal_term_is_a_pull_towards_the_global_model(make: MakeModel, mu: float) -> None:
    def pull(model: nn.Module, start: Sequence[Tensor]) -> Tensor:
        squares = [((p - w) ** 2).sum() for p, w in zip(model.parameters(), start, strict=True)]
        return mu / 2 * torch.stack(squares).sum()

    trained = Trained(make, work(rules=rules(proximal=mu)))
    plain = Plain(make, work(), extra=pull)
    assert torch.allclose(trained.after, plain.after, atol=1e-6)
    assert trained.loss == pytest.approx(sum(plain.losses) / len(plain.losses), rel=1e-5)  # without the term
    assert not torch.allclose(trained.after, Trained(make, work()).after, atol=1e-4)


@pytest.mark.parametrize("make", [mlp, conv])
@pytest.mark.parametrize("norm", [0.05, 0.5, 100.0])
def test_clipping_is_that_of_torch_bit_for_bit(make: MakeModel, norm: float) -> None:
    trained = Trained(make, work(rules=rules(clip_norm=norm)))
    plain = Plain(make, work(), before_step=lambda parameters: nn.utils.clip_grad_norm_(parameters, norm))
    assert torch.equal(trained.after, plain.after)
    assert torch.allclose(trained.after, Trained(make, work()).after, atol=1e-7) == (norm == 100.0)


def test_the_proximal_term_is_clipped_too() -> None:
    trained = Trained(smooth, work(rules=rules(proximal=50.0, clip_norm=0.1), steps=6))
    parameters = trained.rows.layout.size
    assert trained.out[:parameters].norm() <= 6 * LR * 0.1 + 1e-5
    assert Trained(smooth, work(rules=rules(proximal=50.0), steps=6)).out.norm() > 0.1


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (schedules.build("steps", after=[2, 4], by=0.5), {0: 1, 1: 1, 2: 0.5, 3: 0.5, 4: 0.25, 9: 0.25}),
        (schedules.build("cosine", over=4), {0: 1, 2: 0.5, 4: 0, 7: 0}),
        (schedules.build("cosine", over=9, warmup_rounds=3), {0: 0.25, 1: 0.5, 2: 0.75, 3: 1, 6: 0.5}),
        (schedules.build("constant"), {0: 1, 8: 1}),
    ],
    ids=repr,
)
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_schedule_scales_the_rate_of_the_clients(
    schedule: Schedule, expected: dict[int, float], name: str
) -> None:
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name]
    given = work(schedule=schedule, make_optimizer=optimizer_maker(name, {"lr": LR}, "x"))
    for round_index, factor in expected.items():
        plain = Plain(mlp, work(), lr=LR * factor, optimizer=kind, round_index=round_index)
        assert torch.allclose(Trained(mlp, given, round_index=round_index).after, plain.after, rtol=0, atol=1e-7), (
            round_index
        )


def test_a_schedule_of_one_leaves_every_bit() -> None:
    given = work(schedule=schedules.build("steps", after=[10], by=0.5))
    assert torch.equal(Trained(mlp, given, round_index=9).after, Plain(mlp, work(), round_index=9).after)


@pytest.mark.parametrize("wanted", ["client", "global", [0.0, 2.0, 1.0, 0.5]], ids=str)
def test_clients_train_with_the_weights_of_classes(wanted: Any) -> None:
    labels = samples_for(mlp).labels
    counted = torch.bincount(labels[SHARES[CLIENT]] if wanted == "client" else labels, minlength=CLASSES).double()
    weights = torch.tensor(wanted) if isinstance(wanted, list) else (counted.sum() / (CLASSES * counted)).float()
    trained = Trained(mlp, work(rules=rules(loss=CrossEntropy(class_weights=wanted))))
    assert torch.allclose(trained.after, Plain(mlp, work(), weights=weights).after, atol=1e-6)
    assert not torch.allclose(trained.after, Trained(mlp, work()).after, atol=1e-5)


def test_the_weights_of_a_client_count_the_labels_that_it_trains_on_and_absent_classes_too() -> None:
    """Labels of a poisoned client are other than its samples'; the fifth class is nowhere."""
    seen: list[ClassCounts] = []

    class Spy(CrossEntropy):
        def class_weights(self, counts: ClassCounts) -> Tensor | None:
            seen.append(counts)
            return super().class_weights(counts)

    model: Any = mlp()
    samples = samples_for(mlp)
    model[3] = nn.Linear(8, 5)
    rows = ModelRows(model)
    state, share = torch.cat(rows.read()), SHARES[CLIENT]
    given = work(rules=rules(loss=Spy(class_weights="client")))
    Trainer(
        rows, ClientData(Inputs(samples), SHARES, lambda *_: torch.full((len(share),), 2), 5), given, SEED
    ).update(CLIENT, 0, state, torch.empty_like(state))
    assert seen[0].client.tolist() == [0, 0, 13, 0, 0]
    assert seen[0].everyone.tolist() == [6, 6, 6, 5, 0]


def test_weightless_classes_only_are_no_step() -> None:
    trained = Trained(smooth, work(rules=rules(loss=Focal(class_weights=[0.0] * CLASSES), micro_batches=2)))
    assert trained.loss == 0
    assert not trained.out.any()


# All rules together


RULES = [
    rules(),
    rules(loss=Focal(gamma=0.5, class_weights="client")),
    rules(proximal=0.5, clip_norm=0.2, micro_batches=2),
    rules(amp=torch.bfloat16, micro_batches=3, loss=CrossEntropy(label_smoothing=0.1, class_weights="global")),
    rules(amp=torch.float16, proximal=0.5, clip_norm=0.2, channels_last=True),
]


@pytest.mark.parametrize("make", [mlp, conv])
@pytest.mark.parametrize("given", RULES, ids=range(len(RULES)))
@pytest.mark.parametrize("send", ["delta", "gradient"])
def test_local_work_repeats_bit_for_bit(make: MakeModel, given: StepRules, send: str) -> None:
    changes = {"send": send, **({"steps": 1} if send == "gradient" else {})}
    first, second = (Trained(make, work(rules=given, **changes)) for _ in range(2))
    torch.rand(7)  # global randomness has no say
    third = Trained(make, work(rules=given, **changes))
    for other in (second, third):
        assert torch.equal(first.out, other.out)
        assert torch.equal(first.after, other.after)
        assert first.loss == other.loss
    assert first.out.any()
    assert not torch.equal(Trained(make, work(rules=given, **changes), round_index=ROUND + 1).out, first.out)


@pytest.mark.parametrize("given", RULES, ids=range(len(RULES)))
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("send", ["delta", "gradient"])
def test_a_loss_that_is_not_a_number_does_not_end_the_round(given: StepRules, bad: float, send: str) -> None:
    changes = {"send": send, **({"steps": 1} if send == "gradient" else {})}
    samples = samples_for(mlp)
    samples = TensorSamples(torch.full_like(samples.inputs, bad), samples.labels)

    def linear() -> nn.Module:  # tanh would turn an infinity into 1
        with seeded(1):
            return nn.Sequential(nn.Linear(6, CLASSES))

    trained = Trained(linear, work(rules=given, **changes), samples)
    assert trained.loss != trained.loss
    if given.amp == torch.float16 and send == "delta":
        assert not trained.out.any()  # such steps are left out
    else:
        assert not trained.out.isfinite().all()


class CopiesTo(TorchDispatchMode):
    """Counts copies into tensors on a device."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device, self.sizes = device, list[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.copy_.default and args[0].device.type == self.device:
            self.sizes.append(args[0].numel())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("wire_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("send", ["delta", "gradient"])
def test_a_row_on_another_device_than_the_model_is_copied_in_one_piece(send: str, wire_dtype: torch.dtype) -> None:
    samples, rows = samples_for(conv), ModelRows(conv())
    state = torch.cat(rows.read())
    given = work(send=send, steps=1, wire_dtype=wire_dtype)
    data = ClientData(Inputs(samples), SHARES, lambda client, round_index: samples.labels[SHARES[client]])
    with CopiesTo("meta") as copies:
        Trainer(rows, data, given, SEED).update(CLIENT, ROUND, state, torch.empty_like(state, device="meta"))
    assert copies.sizes == [len(state)]


@pytest.mark.parametrize("steps", [None, 1, 7])
@pytest.mark.parametrize("epochs", [1, 3])
def test_batches_are_counted_as_they_are_drawn(epochs: int, steps: int | None) -> None:
    given = work(epochs=epochs, steps=steps, batch_size=4)
    for count in range(20):
        drawn = list(batches(count, given, torch.Generator().manual_seed(count)))
        assert count_batches(count, given) == len(drawn)


def test_the_model_of_the_client_before_does_not_matter() -> None:
    samples, model = samples_for(conv), conv()
    rows = ModelRows(model)
    state = torch.cat(rows.read())
    given = work(rules=rules(proximal=1.0, amp=torch.float16))
    trainer = Trainer(
        rows,
        ClientData(Inputs(samples), SHARES, lambda client, round_index: samples.labels[SHARES[client]]),
        given,
        SEED,
    )
    first, second = torch.empty_like(state), torch.empty_like(state)
    trainer.update(0, ROUND, state, first)
    trainer.update(CLIENT, ROUND, state, second)
    alone = Trained(conv, given, samples)
    assert torch.equal(second, alone.out)
    before = copy.deepcopy(model.state_dict())
    trainer.update(CLIENT, ROUND, state, second)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
