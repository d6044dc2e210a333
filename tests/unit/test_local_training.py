"""What a client does with its samples, against plain PyTorch loops and formulas by hand."""

import copy
import inspect
from collections.abc import Callable, Sequence
from math import cos, pi
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedsim.data import TensorSamples
from fedsim.data.inputs import Inputs
from fedsim.errors import ConfigError
from fedsim.seeds import derive_generator, derive_seed, seeded
from fedsim.training.client import LocalWork, Trainer, batches
from fedsim.training.local_steps import LocalSteps, StepRules
from fedsim.training.losses import ClassCounts, Loss, losses
from fedsim.training.losses.cross_entropy import CrossEntropy
from fedsim.training.losses.focal import Focal
from fedsim.training.optimizers import optimizer_maker
from fedsim.training.schedules import Schedule, schedules
from fedsim.updates.model_rows import ModelRows

CPU = torch.device("cpu")
CLASSES = 4
LR = 0.1


def draws(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def classes(seed: int, count: int) -> Tensor:
    return torch.randint(CLASSES, (count,), generator=torch.Generator().manual_seed(seed))


# Losses


@pytest.mark.parametrize("name", losses.describe())
def test_the_mean_of_a_loss_is_the_mean_of_its_samples(name: str) -> None:
    loss, logits, labels = losses.build(name), draws(0, 9, CLASSES), classes(1, 9)
    each = loss.of_samples(logits, labels)
    assert each.shape == (9,)
    assert torch.allclose(loss.mean(logits, labels, None), each.mean())
    weights = torch.tensor([0.5, 2.0, 0.0, 1.0])
    by_hand = sum(weights[k] * e for k, e in zip(labels, each, strict=True)) / sum(weights[k] for k in labels)
    assert torch.allclose(loss.mean(logits, labels, weights), by_hand)
    assert torch.allclose(loss.mean(logits, labels, torch.full((CLASSES,), 3.0)), each.mean())


@pytest.mark.parametrize("name", losses.describe())
def test_a_sample_has_the_same_loss_in_any_batch_and_a_wrong_class_costs_more(name: str) -> None:
    loss, logits, labels = losses.build(name), draws(2, 9, CLASSES), classes(3, 9)
    each = loss.of_samples(logits, labels)
    alone = torch.cat([loss.of_samples(logits[i : i + 1], labels[i : i + 1]) for i in range(9)])
    assert torch.allclose(each, alone, atol=1e-6)
    certain = 8.0 * F.one_hot(labels, CLASSES)
    assert (loss.of_samples(certain, labels) < loss.of_samples(certain, (labels + 1) % CLASSES)).all()


@pytest.mark.parametrize("name", losses.describe())
def test_the_gradient_of_a_loss_is_its_slope(name: str) -> None:
    loss, labels = losses.build(name), classes(4, 5)
    logits = draws(5, 5, CLASSES).double().requires_grad_()
    for weights in (None, torch.tensor([0.5, 2.0, 0.0, 1.0], dtype=torch.float64)):
        assert torch.autograd.gradcheck(lambda x, w=weights: loss.mean(x, labels, w), (logits,))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_cross_entropy_is_that_of_torch(smoothing: float) -> None:
    logits, labels, weights = draws(6, 11, CLASSES), classes(7, 11), torch.tensor([0.3, 2.0, 0.0, 1.5])
    loss = losses.build("cross_entropy", label_smoothing=smoothing)
    assert torch.equal(loss.mean(logits, labels, None), F.cross_entropy(logits, labels, label_smoothing=smoothing))
    target = (1 - smoothing) * F.one_hot(labels, CLASSES).double() + smoothing / CLASSES
    each = -(target * logits.double().log_softmax(1)).sum(1)
    assert torch.allclose(loss.of_samples(logits, labels).double(), each, atol=1e-6)
    by_hand = (weights[labels] * each).sum() / weights[labels].sum()
    assert loss.mean(logits, labels, weights).item() == pytest.approx(by_hand.item(), rel=1e-5)
    if smoothing == 0:
        assert torch.allclose(loss.mean(logits, labels, weights), F.cross_entropy(logits, labels, weight=weights))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_loss_by_the_formula(gamma: float) -> None:
    logits, labels = 4 * draws(8, 50, CLASSES), classes(9, 50)
    p = logits.double().softmax(1)[torch.arange(50), labels]
    by_hand = -((1 - p) ** gamma) * p.log()
    assert torch.allclose(Focal(gamma=gamma).of_samples(logits, labels).double(), by_hand, rtol=1e-4, atol=1e-7)


def test_focal_loss_without_gamma_is_cross_entropy_and_gamma_lowers_what_easy_samples_count() -> None:
    logits, labels = draws(10, 12, CLASSES), classes(11, 12)
    entropy = F.cross_entropy(logits, labels, reduction="none")
    assert torch.allclose(Focal(gamma=0.0).of_samples(logits, labels), entropy)
    ratio = Focal(gamma=2.0).of_samples(logits, labels) / entropy
    order = entropy.argsort()
    assert (ratio[order].diff() > 0).all()
    assert ((ratio > 0) & (ratio < 1)).all()


EXTREME = [
    *(losses.build(name) for name in losses.describe()),
    *(Focal(gamma=gamma) for gamma in (0.0, 0.1, 0.5, 1.0, 1.5, 5.0)),
    CrossEntropy(label_smoothing=0.2),
]


@pytest.mark.parametrize("loss", EXTREME, ids=repr)
@pytest.mark.parametrize("weights", [None, torch.tensor([0.0, 1.0, 2.0, 1.0])], ids=["alike", "weighted"])
@pytest.mark.parametrize("scale", [1.0, 20.0, 100.0, 1e4])
def test_losses_and_their_gradients_are_finite_at_extreme_logits(
    loss: Loss, weights: Tensor | None, scale: float
) -> None:
    right, wrong = torch.full((1, CLASSES), -scale), torch.full((1, CLASSES), scale)
    right[0, 1], wrong[0, 1] = scale, -scale
    logits = torch.cat([right, wrong, right * 0, wrong * 2 + right]).requires_grad_()
    labels = torch.tensor([1, 1, 1, 2])
    assert loss.of_samples(logits, labels).isfinite().all()
    value = loss.mean(logits, labels, weights)
    value.backward()
    assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


COUNTS = ClassCounts(torch.tensor([4, 0, 1, 5]), torch.tensor([10, 10, 0, 20]))


@pytest.mark.parametrize("name", losses.describe())
def test_class_weights_by_hand(name: str) -> None:
    def weights(wanted: Any) -> Tensor | None:
        return losses.build(name, class_weights=wanted).class_weights(COUNTS)

    assert losses.build(name).class_weights(COUNTS) is None
    assert weights("none") is None
    for wanted, expected in (
        ("client", [10 / 16, 0.0, 10 / 4, 10 / 20]),
        ("global", [1.0, 1.0, 0.0, 0.5]),
        ([0.5, 0.0, 3.0, 1.0], [0.5, 0.0, 3.0, 1.0]),
        ([1, 2, 3, 4], [1.0, 2.0, 3.0, 4.0]),
    ):
        given = weights(wanted)
        assert given is not None
        assert given.dtype == torch.float32
        assert given.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", losses.describe())
def test_under_weights_of_its_own_classes_a_client_minimises_the_mean_of_its_classes(name: str) -> None:
    labels, logits = torch.tensor([0, 0, 0, 0, 2, 3, 3]), draws(12, 7, CLASSES)
    loss = losses.build(name, class_weights="client")
    weights = loss.class_weights(ClassCounts(torch.bincount(labels, minlength=CLASSES), torch.ones(CLASSES)))
    each = loss.of_samples(logits, labels)
    by_class = torch.stack([each[labels == label].mean() for label in (0, 2, 3)])
    assert torch.allclose(loss.mean(logits, labels, weights), by_class.mean())


@pytest.mark.parametrize("name", losses.describe())
def test_a_batch_of_weightless_classes_costs_nothing_and_has_no_gradient(name: str) -> None:
    logits = draws(13, 5, CLASSES).requires_grad_()
    labels, loss = torch.tensor([2, 2, 0, 0, 2]), losses.build(name)
    value = loss.mean(logits, labels, torch.tensor([0.0, 1.0, 0.0, 1.0]))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()  # NaN is true


@pytest.mark.parametrize("name", losses.describe())
@pytest.mark.parametrize("wanted", [[], [1.0] * 3, [1.0] * 5])
def test_a_list_of_weights_of_the_wrong_length_is_an_error(name: str, wanted: list[float]) -> None:
    with pytest.raises(ConfigError) as caught:
        losses.build(name, class_weights=wanted).class_weights(COUNTS)
    assert caught.value.key == "class_weights"
    assert f"{len(wanted)} weights for 4 classes" in str(caught.value)


@pytest.mark.parametrize("name", losses.describe())
@pytest.mark.parametrize("wanted", ["clients", 1.0, [1.0, -1.0, 1.0, 1.0], [1.0, float("nan"), 1.0, 1.0]])
def test_impossible_class_weights_are_an_error(name: str, wanted: Any) -> None:
    with pytest.raises(ConfigError, match=r"^class_weights"):
        losses.build(name, class_weights=wanted)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("focal", {"gamma": -0.1}),
        ("focal", {"gamma": float("nan")}),
        ("cross_entropy", {"label_smoothing": 1.0}),
        ("cross_entropy", {"label_smoothing": -0.1}),
        ("cross_entropy", {"gamma": 1.0}),
    ],
)
def test_impossible_settings_of_losses_are_errors(name: str, settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"^{next(iter(settings))}"):
        losses.build(name, **settings)


# Schedules


def factors(name: str, count: int, **settings: Any) -> list[float]:
    return [schedules.build(name, **settings).factor(round) for round in range(count)]


def test_the_constant_schedule_is_one() -> None:
    assert factors("constant", 5) == [1.0] * 5


@pytest.mark.parametrize(("over", "final"), [(1, 0.0), (2, 0.1), (10, 0.0), (10, 0.25), (7, 1.0)])
def test_the_cosine_schedule_by_its_formula_and_flat_after_its_end(over: int, final: float) -> None:
    by_hand = [final + (1 - final) * 0.5 * (1 + cos(pi * round / over)) for round in range(over)] + [final] * 10
    assert factors("cosine", over + 10, over=over, final=final) == pytest.approx(by_hand, abs=1e-12)


def test_the_cosine_schedule_warms_up_in_a_line_and_falls_in_what_is_left() -> None:
    given = factors("cosine", 20, over=10, warmup_rounds=4, final=0.2)
    assert given[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    by_hand = [0.2 + 0.8 * 0.5 * (1 + cos(pi * (round - 4) / 6)) for round in range(4, 10)]
    assert given[4:10] == pytest.approx(by_hand)
    assert given[10:] == pytest.approx([0.2] * 10)


@pytest.mark.parametrize("over", [1, 3, 4])
def test_a_warm_up_that_is_as_long_as_the_schedule_ends_in_its_last_factor(over: int) -> None:
    given = factors("cosine", 9, over=over, warmup_rounds=4, final=0.3)
    assert given == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 0.3, 0.3, 0.3, 0.3])


def test_the_steps_schedule_multiplies_after_each_number_of_rounds() -> None:
    assert factors("steps", 7, after=[2, 5], by=0.1) == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])
    assert factors("steps", 7, after=[5, 2], by=0.1) == pytest.approx(factors("steps", 7, after=[2, 5], by=0.1))
    assert factors("steps", 3, after=[1, 1], by=3.0) == pytest.approx([1, 9, 9])
    assert factors("steps", 3, after=[], by=0.5) == [1.0] * 3


@pytest.mark.parametrize("name", schedules.describe())
def test_no_schedule_knows_how_long_the_run_is_or_remembers_what_it_was_asked(name: str) -> None:
    schedule = schedules.build(name)
    assert list(inspect.signature(schedule.factor).parameters) == ["round"]
    assert not {"rounds", "total", "total_rounds"} & set(schedules.describe()[name].settings)
    forwards = [schedule.factor(round) for round in range(200)]
    assert [schedule.factor(round) for round in reversed(range(200))] == forwards[::-1]
    assert forwards[0] == 1.0 or name == "cosine"
    assert all(0 <= factor <= 1 for factor in forwards)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("cosine", {"over": 0}),
        ("cosine", {"warmup_rounds": -1}),
        ("cosine", {"final": 1.5}),
        ("steps", {"after": [0]}),
        ("steps", {"by": 0.0}),
        ("constant", {"by": 0.5}),
    ],
)
def test_impossible_settings_of_schedules_are_errors(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"^{next(iter(settings))}"):
        schedules.build(name, **settings)


# The local work of a client

COUNT = 23
SEED, ROUND, CLIENT = 5, 3, 1
SHARES = [torch.arange(4), torch.tensor([19, 3, 22, 8, 15, 4, 11, 20, 0, 17, 6, 9, 13])]


def mlp() -> nn.Module:
    with seeded(1):
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.25), nn.Linear(8, CLASSES))


def smooth() -> nn.Module:
    """Without dropout, which draws differently for every cut of a batch."""
    with seeded(1):
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, CLASSES))


def conv() -> nn.Module:
    """With a smooth activation: the kink of ReLU makes a large difference of a small one."""
    with seeded(1):
        return nn.Sequential(
            nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.Tanh(), nn.Flatten(), nn.Linear(80, CLASSES)
        )


MakeModel = Callable[[], nn.Module]


def samples_for(make: MakeModel, scale: float = 1.0) -> TensorSamples:
    shape = (COUNT, 3, 4, 4) if make is conv else (COUNT, 6)
    return TensorSamples(scale * draws(20, *shape), torch.arange(COUNT) % CLASSES)


def rules(**changes: Any) -> StepRules:
    return StepRules(**{"loss": CrossEntropy(), **changes})


def work(**changes: Any) -> LocalWork:
    usual = {"epochs": 2, "steps": None, "batch_size": 5, "send": "delta"}
    return LocalWork(**{**usual, "make_optimizer": optimizer_maker("sgd", {"lr": LR}, "x"), **changes})


class Trained:
    """What a Trainer leaves: the row, the loss and the model."""

    def __init__(self, make: MakeModel, given: LocalWork, samples: TensorSamples | None = None, **at: Any) -> None:
        samples = samples or samples_for(make)
        self.model = make()
        self.rows = ModelRows(self.model)
        self.state = at.get("state", torch.cat(self.rows.read()))
        self.out = torch.full_like(self.state, torch.nan)
        trainer = Trainer(
            self.rows, Inputs(samples), SHARES, given, SEED, CPU, lambda client, round: samples.labels[SHARES[client]]
        )
        self.loss = trainer.update(CLIENT, at.get("round", ROUND), self.state, self.out)

    @property
    def after(self) -> Tensor:
        return torch.cat(self.rows.read())


class Plain:
    """The same by a plain loop.

    Args:
        extra: what is added to the loss, from the model and its parameters at the start.
        before_step: called with the parameters when their gradients are there.
    """

    def __init__(
        self,
        make: MakeModel,
        given: LocalWork,
        *,
        lr: float = LR,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.SGD,
        weights: Tensor | None = None,
        round: int = ROUND,
        extra: Callable[[nn.Module, Sequence[Tensor]], Tensor] | None = None,
        before_step: Callable[[Sequence[nn.Parameter]], Any] | None = None,
        model: nn.Module | None = None,
    ) -> None:
        samples, share = samples_for(make), SHARES[CLIENT]
        self.model = model or make()
        self.model.train()
        start = [parameter.detach().clone() for parameter in self.model.parameters()]
        stepper, self.losses = optimizer(self.model.parameters(), lr=lr), []
        with seeded(derive_seed(SEED, "local work", round, CLIENT)):
            for batch in batches(len(share), given, derive_generator(SEED, "batches", round, CLIENT)):
                stepper.zero_grad()
                inputs, labels = samples.inputs[share[batch]], samples.labels[share[batch]]
                loss = F.cross_entropy(self.model(inputs), labels, weight=weights)
                self.losses.append(loss.item())
                (loss if extra is None else loss + extra(self.model, start)).backward()
                if before_step is not None:
                    before_step(list(self.model.parameters()))
                stepper.step()

    @property
    def after(self) -> Tensor:
        return torch.cat(ModelRows(self.model).read())


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
    for round in range(4):
        trained = Trained(make, work(), round=round, **({} if state is None else {"state": state}))
        state = trained.after  # what Simulation hands out where one client's update is the step
        assert torch.equal(state, Plain(make, work(), round=round, model=model).after)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_other_optimizers_start_anew_in_every_round(name: str) -> None:
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name]
    given = work(make_optimizer=optimizer_maker(name, {"lr": 0.01}, "x"))
    assert torch.equal(Trained(mlp, given).after, Plain(mlp, given, lr=0.01, optimizer=kind).after)


def test_a_proximal_term_of_zero_leaves_every_bit() -> None:
    assert torch.equal(Trained(mlp, work(rules=rules(proximal=0.0))).after, Plain(mlp, work()).after)


@pytest.mark.parametrize("make", [mlp, conv])
@pytest.mark.parametrize("mu", [0.1, 1.0, 5.0])
def test_the_proximal_term_is_a_pull_towards_the_global_model(make: MakeModel, mu: float) -> None:
    def pull(model: nn.Module, start: Sequence[Tensor]) -> Tensor:
        return mu / 2 * sum(((p - w) ** 2).sum() for p, w in zip(model.parameters(), start, strict=True))

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
    for round, factor in expected.items():
        plain = Plain(mlp, work(), lr=LR * factor, optimizer=kind, round=round)
        assert torch.allclose(Trained(mlp, given, round=round).after, plain.after, rtol=0, atol=1e-7), round


def test_a_schedule_of_one_leaves_every_bit() -> None:
    given = work(schedule=schedules.build("steps", after=[10], by=0.5))
    assert torch.equal(Trained(mlp, given, round=9).after, Plain(mlp, work(), round=9).after)


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

    model, samples = mlp(), samples_for(mlp)
    model[3] = nn.Linear(8, 5)
    rows = ModelRows(model)
    state, share = torch.cat(rows.read()), SHARES[CLIENT]
    given = work(rules=rules(loss=Spy(class_weights="client")))
    Trainer(
        rows, Inputs(samples), SHARES, given, SEED, CPU, lambda *_: torch.full((len(share),), 2), num_classes=5
    ).update(CLIENT, 0, state, torch.empty_like(state))
    assert seen[0].client.tolist() == [0, 0, 13, 0, 0]
    assert seen[0].everyone.tolist() == [6, 6, 6, 5, 0]


def test_weightless_classes_only_are_no_step() -> None:
    trained = Trained(smooth, work(rules=rules(loss=Focal(class_weights=[0.0] * CLASSES), micro_batches=2)))
    assert trained.loss == 0
    assert not trained.out.any()


# Micro-batches


def gradient_of(given: StepRules, model: nn.Module, inputs: Tensor, labels: Tensor, weights: Tensor | None) -> tuple:
    """Loss and gradient of one batch by LocalSteps, and the sizes of the pieces."""
    pieces: list[int] = []

    def forward(inputs: Tensor) -> Tensor:
        pieces.append(len(inputs))
        return model(inputs)

    trained = list(model.parameters())
    steps = LocalSteps(given, forward, trained, torch.optim.SGD(trained, lr=LR), weights)
    loss = steps.backward(inputs, labels)
    return loss, torch.cat([p.grad.flatten() for p in trained]), pieces


WEIGHTS = torch.tensor([0.2, 3.0, 0.0, 1.0])


@pytest.mark.parametrize("name", losses.describe())
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["alike", "weighted"])
@pytest.mark.parametrize("pieces", [2, 3, 5])
@pytest.mark.parametrize("count", [2, 3, 4, 5, 7, 8, 11, 13])
def test_pieces_of_a_batch_give_the_gradient_of_the_whole(
    name: str, weights: Tensor | None, pieces: int, count: int
) -> None:
    inputs, labels, model = draws(30, count, 6), classes(31, count), smooth()
    loss, gradient, sizes = gradient_of(
        rules(loss=losses.build(name), micro_batches=pieces), model, inputs, labels, weights
    )
    model.zero_grad()
    logits = model(inputs).double()
    each = losses.build(name).of_samples(logits, labels)
    by_class = torch.ones(count).double() if weights is None else weights[labels].double()
    whole = (by_class * each).sum() / by_class.sum()
    whole.backward()
    wanted = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert torch.allclose(gradient, wanted, rtol=1e-4, atol=1e-6)
    assert loss.item() == pytest.approx(whole.item(), rel=1e-5)
    assert sum(sizes) == count
    assert len(sizes) == max(1, min(pieces, count // 2))
    assert min(sizes) >= 2
    assert max(sizes) - min(sizes) <= 1


def test_a_piece_without_weight_adds_nothing_and_a_batch_without_weight_has_no_gradient() -> None:
    inputs, given = draws(32, 6, 6), rules(micro_batches=3)
    labels = torch.tensor([2, 2, 0, 1, 2, 2])
    _, gradient, _ = gradient_of(given, smooth(), inputs, labels, WEIGHTS)
    model = smooth()
    F.cross_entropy(model(inputs), labels, weight=WEIGHTS).backward()
    wanted = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert torch.allclose(gradient, wanted, atol=1e-6)
    assert gradient.any()
    loss, gradient, _ = gradient_of(given, smooth(), inputs, torch.full((6,), 2), WEIGHTS)
    assert loss.item() == 0
    assert not gradient.any()


@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_training_in_pieces_is_training_and_pull_and_clip_are_of_the_whole_batch(pieces: int) -> None:
    settings = {"proximal": 2.0, "clip_norm": 0.3}
    whole = Trained(smooth, work(rules=rules(**settings)))
    cut = Trained(smooth, work(rules=rules(**settings, micro_batches=pieces)))
    assert torch.allclose(cut.after, whole.after, atol=1e-6)
    assert cut.loss == pytest.approx(whole.loss, rel=1e-5)


def test_a_batch_in_one_piece_leaves_every_bit() -> None:
    given = work(batch_size=3, rules=rules(micro_batches=4))  # of two samples at least, so there is one piece
    assert torch.equal(Trained(mlp, given).after, Plain(mlp, given).after)


# Precision


class Watched(nn.Linear):
    """Remembers the types of what it gives."""

    def forward(self, inputs: Tensor) -> Tensor:
        out = super().forward(inputs)
        self.__dict__.setdefault("seen", set()).add(out.dtype)
        return out


def watched() -> nn.Module:
    with seeded(1):
        return nn.Sequential(Watched(6, 8), nn.Tanh(), Watched(8, CLASSES))


@pytest.mark.parametrize("amp", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("pieces", [1, 2])
def test_low_precision_stays_near_and_leaves_parameters_and_rows_in_float32(amp: torch.dtype, pieces: int) -> None:
    exact = Trained(watched, work())
    rough = Trained(watched, work(rules=rules(amp=amp, micro_batches=pieces)))
    assert rough.model[0].seen == rough.model[2].seen == {amp}
    assert exact.model[0].seen == {torch.float32}
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in rough.model.parameters())
    assert rough.out.dtype == torch.float32
    near = {torch.bfloat16: 3e-2, torch.float16: 4e-3}[amp]
    assert (rough.out - exact.out).norm() < near * exact.out.norm()
    assert not torch.equal(rough.out, exact.out)
    assert rough.loss == pytest.approx(exact.loss, rel=near)


@pytest.mark.parametrize("amp", [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", losses.describe())
def test_losses_are_computed_in_float32_whatever_the_model_gives(name: str, amp: torch.dtype | None) -> None:
    seen: set[torch.dtype] = set()

    class Spy(losses.get(name)):
        def of_samples(self, logits: Tensor, labels: Tensor) -> Tensor:
            seen.add(logits.dtype)
            return super().of_samples(logits, labels)

    trained = Trained(smooth, work(rules=rules(loss=Spy(class_weights="client"), amp=amp)))
    assert seen == {torch.float32}
    assert trained.out.any()


def test_low_precision_of_a_model_with_buffers_stays_near() -> None:
    exact = Trained(conv, work())
    for amp, near in ((torch.bfloat16, 5e-2), (torch.float16, 1e-2)):
        rough = Trained(conv, work(rules=rules(amp=amp)))
        assert all(tensor.dtype == torch.float32 for tensor in (*rough.model.parameters(), rough.out))
        assert rough.model[1].running_var.dtype == torch.float32
        assert (rough.out - exact.out).norm() < near * exact.out.norm()


@pytest.mark.parametrize("settings", [{"proximal": 3.0}, {"clip_norm": 0.1}, {"proximal": 3.0, "clip_norm": 0.1}])
def test_pull_and_clip_are_not_scaled_with_the_loss_of_float16(settings: dict[str, float]) -> None:
    exact = Trained(smooth, work(rules=rules(**settings)))
    rough = Trained(smooth, work(rules=rules(**settings, amp=torch.float16)))
    assert (rough.out - exact.out).norm() < 1e-2 * exact.out.norm()


SGD_M = optimizer_maker("sgd", {"lr": LR, "momentum": 0.9}, "x")


@pytest.mark.parametrize("settings", [{}, {"clip_norm": 1.0}, {"proximal": 1.0}, {"micro_batches": 2}])
def test_a_step_of_float16_that_overflows_is_left_out_and_training_goes_on(settings: dict[str, Any]) -> None:
    large = samples_for(smooth, scale=3000.0)
    given = rules(**settings, amp=torch.float16)

    def linear() -> nn.Module:
        with seeded(1):
            return nn.Sequential(nn.Linear(6, CLASSES))

    one = Trained(linear, work(rules=given, steps=1, make_optimizer=SGD_M), large)
    assert one.loss > 100  # finite: only the gradient, times the scale, is not
    assert one.loss < float("inf")
    assert torch.equal(one.after, one.state)
    assert not one.out.any()
    many = Trained(linear, work(rules=given, steps=14, make_optimizer=SGD_M), large)
    assert many.out.any()  # at a smaller scale
    assert many.out.isfinite().all()


@pytest.mark.parametrize("amp", [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("pieces", [1, 2])
def test_a_gradient_is_sent_as_it_is_and_no_step_is_taken(amp: torch.dtype | None, pieces: int) -> None:
    given = work(send="gradient", steps=1, rules=rules(amp=amp, micro_batches=pieces))
    trained = Trained(smooth, given)
    wanted: list[Tensor] = []
    Plain(smooth, given, before_step=lambda parameters: wanted.extend(p.grad.flatten() for p in parameters))
    gradient = torch.cat(wanted)
    assert (trained.out - gradient).norm() < {None: 1e-6, torch.bfloat16: 2e-2}.get(amp, 2e-3) * gradient.norm()
    assert torch.equal(trained.after, trained.state)


# Memory formats


def test_channels_last_is_shown_to_the_model_and_gives_nearly_the_same() -> None:
    formats: set[bool] = set()

    def turned() -> nn.Module:
        model = conv().to(memory_format=torch.channels_last)
        model[0].register_forward_pre_hook(
            lambda module, args: formats.add(
                args[0].is_contiguous(memory_format=torch.channels_last) and not args[0].is_contiguous()
            )
        )
        return model

    usual = Trained(conv, work())
    images = samples_for(conv)
    for pieces in (1, 2):
        other = Trained(turned, work(rules=rules(channels_last=True, micro_batches=pieces)), images)
        assert formats == {True}
        if pieces == 1:
            assert torch.equal(other.state, usual.state)
            assert torch.allclose(other.out, usual.out, atol=1e-5)
            assert other.loss == pytest.approx(usual.loss, rel=1e-5)


def test_channels_last_leaves_inputs_without_channels_alone() -> None:
    assert torch.equal(Trained(mlp, work(rules=rules(channels_last=True))).after, Plain(mlp, work()).after)


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
    assert not torch.equal(Trained(make, work(rules=given, **changes), round=ROUND + 1).out, first.out)


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


def test_the_model_of_the_client_before_does_not_matter() -> None:
    samples, model = samples_for(conv), conv()
    rows = ModelRows(model)
    state = torch.cat(rows.read())
    given = work(rules=rules(proximal=1.0, amp=torch.float16))
    trainer = Trainer(
        rows, Inputs(samples), SHARES, given, SEED, CPU, lambda client, round: samples.labels[SHARES[client]]
    )
    first, second = torch.empty_like(state), torch.empty_like(state)
    trainer.update(0, ROUND, state, first)
    trainer.update(CLIENT, ROUND, state, second)
    alone = Trained(conv, given, samples)
    assert torch.equal(second, alone.out)
    before = copy.deepcopy(model.state_dict())
    trainer.update(CLIENT, ROUND, state, second)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
