"""Local steps in pieces, in low precision and in other memory formats."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedsim.seeds import seeded
from fedsim.training.local_steps import LocalSteps, StepRules
from fedsim.training.losses import losses
from fedsim.training.optimizers import optimizer_maker
from support.local_work import CLASSES, LR, Plain, Trained, classes, conv, mlp, rules, samples_for, smooth, work
from support.randomness import draws

# Micro-batches


def gradient_of(
    given: StepRules, model: nn.Module, inputs: Tensor, labels: Tensor, weights: Tensor | None
) -> tuple[Any, ...]:
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


def test_the_pull_of_the_proximal_term_is_that_of_each_parameter_by_itself_to_the_last_bit() -> None:
    inputs, labels, mu = draws(30, 8, 6), classes(31, 8), 0.37
    model, plain = smooth(), smooth()
    list(model.parameters())[1].requires_grad_(False)  # it has no gradient
    trained = list(model.parameters())
    start = [parameter.detach().clone() for parameter in trained]
    steps = LocalSteps(rules(proximal=mu), model, trained, torch.optim.SGD(trained, lr=LR), None)
    with torch.no_grad():
        for parameter, other in zip(trained, plain.parameters(), strict=True):
            other.copy_(parameter.add_(draws(32, *parameter.shape), alpha=0.3))
    steps.backward(inputs, labels)
    F.cross_entropy(plain(inputs), labels).backward()
    assert trained[1].grad is None
    for parameter, other, first in zip(trained, plain.parameters(), start, strict=True):
        if parameter.grad is not None:
            assert torch.equal(parameter.grad, other.grad.add(other.detach() - first, alpha=mu))


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
    parent: Any = losses.get(name)

    class Spy(parent):
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
        model: Any = conv().to(memory_format=torch.channels_last)
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
