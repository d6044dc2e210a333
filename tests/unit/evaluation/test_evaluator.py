"""Measures of quality against scikit-learn, and evaluation by several ranks against one."""

import math
import warnings
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, recall_score
from torch import Tensor, nn

from fedsim.comm import SingleProcess
from fedsim.data import TensorSamples
from fedsim.data.augmentations import augmentations
from fedsim.data.inputs import Inputs, View
from fedsim.data.labels import IGNORED
from fedsim.evaluation.evaluator import RECORDED_CLASSES, Evaluation, Evaluator
from fedsim.evaluation.metrics import Metric, Predictions
from fedsim.evaluation.run_metrics import RunMetrics
from fedsim.records.round_record import Quality
from support.meta_device import META
from support.texts import tokens
from support.thread_ranks import on_ranks


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Answers(nn.Module):
    """Predicts what it is given: its inputs are the logits."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


def asked(
    logits: Tensor,
    labels: Tensor,
    batch_size: int = 7,
    owners: Tensor | None = None,
    ranks: int = 1,
    **more: Any,
) -> list[Evaluation]:
    """The evaluation of a model with these logits [N, C] or [N, T, C], by every rank."""
    inputs, classes = Inputs(TensorSamples(logits, labels)), logits.shape[-1]
    return on_ranks(
        ranks, lambda comm: Evaluator(inputs, classes, batch_size, comm, owners, **more).evaluate(Answers())
    )


def random_answers(seed: int, count: int = 150, classes: int = 8) -> tuple[Tensor, Tensor]:
    """Logits and labels; class 3 is in neither, 5 only among labels, 6 only among predictions."""
    generator = seeded(seed)
    labels = torch.tensor([0, 1, 2, 4, 5, 7])[torch.randint(6, (count,), generator=generator)]
    logits = torch.randn(count, classes, generator=generator)
    logits[torch.arange(count), labels] += 0.7
    logits[:, [3, 5]] = -30.0
    return logits, labels


# Measures


@pytest.mark.parametrize("seed", range(5))
def test_measures_are_those_of_scikit_learn_where_classes_are_absent(seed: int) -> None:
    logits, labels = random_answers(seed)
    (evaluation,) = asked(logits, labels)
    truth, predicted = labels.numpy(), logits.numpy().argmax(1)
    assert {3, 6}.isdisjoint(truth)
    assert {3, 5}.isdisjoint(predicted)
    assert 5 in truth
    assert 6 in predicted
    classes = list(range(8))
    assert evaluation.confusion.tolist() == confusion_matrix(truth, predicted, labels=classes).tolist()
    assert evaluation.confusion.dtype == torch.int64
    assert evaluation.accuracy == (truth == predicted).mean()
    assert evaluation.macro_f1 == pytest.approx(f1_score(truth, predicted, average="macro", zero_division=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "y_pred contains classes not in y_true"
        assert evaluation.balanced_accuracy == pytest.approx(balanced_accuracy_score(truth, predicted))
    recalls = recall_score(truth, predicted, labels=classes, average=None, zero_division=np.nan)
    assert np.allclose(evaluation.per_class_recall, recalls, equal_nan=True)
    assert [math.isnan(recall) for recall in evaluation.per_class_recall] == [c in (3, 6) for c in classes]


def test_measures_of_a_skewed_test_set_differ_from_each_other() -> None:
    """A model that always says the class of nine in ten."""
    labels = torch.tensor([0] * 90 + [1] * 10)
    logits = torch.tensor([[1.0, 0.0]]).repeat(100, 1)
    (evaluation,) = asked(logits, labels)
    assert evaluation.accuracy == 0.9
    assert evaluation.balanced_accuracy == 0.5
    assert evaluation.per_class_recall == [1.0, 0.0]
    assert evaluation.macro_f1 == pytest.approx((2 * 0.9 / 1.9) / 2)


@pytest.mark.parametrize("right", [True, False])
def test_all_right_and_all_wrong(right: bool) -> None:
    labels = torch.arange(30) % 3
    logits = nn.functional.one_hot(labels if right else (labels + 1) % 3, 3).float()
    (evaluation,) = asked(logits, labels)
    for measure in (evaluation.accuracy, evaluation.balanced_accuracy, evaluation.macro_f1):
        assert measure == float(right)


@pytest.mark.parametrize("batch_size", [1, 7, 150, 1000])
def test_the_loss_is_the_mean_cross_entropy_whatever_the_batches(batch_size: int) -> None:
    logits, labels = random_answers(0)
    (evaluation,) = asked(logits, labels, batch_size)
    wide = logits.double().numpy()
    log_sums = np.log(np.exp(wide - wide.max(1, keepdims=True)).sum(1)) + wide.max(1)
    assert evaluation.loss == pytest.approx((log_sums - wide[np.arange(150), labels.numpy()]).mean(), rel=1e-12)


# Clients


def by_hand(logits: Tensor, labels: Tensor, owners: list[int]) -> dict[int, float]:
    right: dict[int, list[bool]] = {}
    for row, label, owner in zip(logits.tolist(), labels.tolist(), owners, strict=True):
        if owner >= 0:
            right.setdefault(owner, []).append(row.index(max(row)) == label)
    return {owner: sum(hits) / len(hits) for owner, hits in right.items()}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ranks", [1, 3])
def test_clients_are_measured_on_their_own_samples(seed: int, ranks: int) -> None:
    logits, labels = random_answers(seed)
    owners = torch.randint(-1, 6, (150,), generator=seeded(seed))
    owners[owners == 2] = 4  # client 2 has no test samples
    expected = by_hand(logits, labels, owners.tolist())
    for evaluation in asked(logits, labels, owners=owners, ranks=ranks):
        assert set(evaluation.client_accuracy) == {0, 1, 3, 4, 5}
        assert dict(evaluation.client_accuracy) == pytest.approx(expected)
        record = asdict(evaluation.quality())
        assert record["worst_client_accuracy"] == min(expected.values())
        assert record["mean_client_accuracy"] == pytest.approx(sum(expected.values()) / 5)
        assert record["mean_client_accuracy"] != pytest.approx(record["accuracy"], abs=1e-6)


@pytest.mark.parametrize("owners", [None, torch.full((150,), -1)])
def test_where_nobody_owns_samples_no_client_is_measured(owners: Tensor | None) -> None:
    logits, labels = random_answers(0)
    (evaluation,) = asked(logits, labels, owners=owners)
    assert evaluation.client_accuracy == {}
    record = asdict(evaluation.quality())
    assert record["worst_client_accuracy"] is None
    assert record["mean_client_accuracy"] is None
    assert evaluation.accuracy > 0.2


def test_samples_of_nobody_count_in_the_whole_and_a_client_may_be_all_wrong() -> None:
    labels = torch.tensor([0, 1, 0, 1])
    logits = nn.functional.one_hot(torch.tensor([0, 1, 1, 0]), 2).float()
    (evaluation,) = asked(logits, labels, owners=torch.tensor([-1, 7, 2, 2]))
    assert evaluation.client_accuracy == {2: 0.0, 7: 1.0}
    assert evaluation.quality().worst_client_accuracy == 0.0
    assert evaluation.accuracy == 0.5


# Ranks


@pytest.mark.parametrize("batch_size", [1, 9, 64])
def test_the_result_is_the_same_bit_for_bit_on_any_number_of_ranks(batch_size: int) -> None:
    images = torch.randint(256, (131, 1, 4, 4), generator=seeded(0), dtype=torch.uint8)
    inputs = Inputs(TensorSamples(images, torch.arange(131) % 5), View(normalization=([0.4], [0.2])))
    owners = torch.arange(131) % 4 - 1
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=seeded(parameter.numel())) * 9)
    results = []
    for ranks in (1, 2, 3, 5, 16):
        results += on_ranks(ranks, lambda comm: Evaluator(inputs, 5, batch_size, comm, owners).evaluate(model))
    assert len(results) == 27
    for other in results[1:]:
        assert other.loss == results[0].loss
        assert torch.equal(other.confusion, results[0].confusion)
        assert other.client_accuracy == results[0].client_accuracy
        assert other.quality() == results[0].quality()
    assert int(results[0].confusion.sum()) == 131


class Shown(Metric):
    """Keeps what it is given."""

    name = "shown"

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Predictions] = []

    def of_predictions(self, predictions: Predictions) -> float:
        self.given.append(predictions)
        return float(predictions.logits.double().sum())


@pytest.mark.parametrize(("count", "batch_size"), [(131, 9), (131, 131), (20, 1), (4, 3)])
def test_metrics_are_given_the_predictions_in_the_order_of_the_samples_on_rank_0(count: int, batch_size: int) -> None:
    logits = torch.randn(count, 4, generator=seeded(0))
    labels, owners = torch.arange(count) % 4, torch.arange(count) % 3
    for ranks in (1, 2, 3, 7):
        shown = Shown()
        more: dict[str, Any] = {"metrics": RunMetrics([shown]), "class_names": ("a", "b", "c", "d")}
        evaluations = asked(logits, labels, batch_size, owners, ranks, **more)
        (given,) = shown.given
        assert torch.equal(given.logits, logits)
        assert torch.equal(given.labels, labels)
        assert torch.equal(given.owners, owners)
        assert given.class_names == more["class_names"]
        assert evaluations[0].metrics == {"shown": float(logits.double().sum())}
        assert not any(other.metrics for other in evaluations[1:])


@pytest.mark.parametrize("ranks", [1, 3, 6])
def test_metrics_are_given_each_position_of_a_sequence_that_has_a_class(ranks: int) -> None:
    logits, labels = torch.randn(20, 5, 4, generator=seeded(0)), torch.arange(100).view(20, 5) % 4
    labels[3, 2:] = labels[19] = IGNORED
    shown, owners = Shown(), torch.arange(20)
    asked(logits, labels, 5, owners, ranks, metrics=RunMetrics([shown]))
    (given,) = shown.given
    places = [(sample, place) for sample in range(20) for place in range(5) if labels[sample, place] != IGNORED]
    assert len(given.labels) == 92
    assert torch.equal(given.logits, torch.stack([logits[place] for place in places]))
    assert given.labels.tolist() == [int(labels[place]) for place in places]
    assert given.owners.tolist() == [sample for sample, _ in places]


def test_losses_are_added_in_the_order_of_the_batches() -> None:
    """Losses so unlike each other that any other order rounds to another sum."""
    sizes = (50 * torch.rand(60, generator=seeded(1))).exp2()
    logits = torch.stack([torch.zeros(60), sizes], 1)
    losses = nn.functional.cross_entropy(logits.double(), torch.zeros(60, dtype=torch.int64), reduction="none")
    in_order, in_turn = 0.0, [0.0, 0.0, 0.0]
    for position, loss in enumerate(losses.tolist()):
        in_order += loss
        in_turn[position % 3] += loss
    assert in_order != sum(in_turn)
    for ranks in (1, 3, 4):
        for evaluation in asked(logits, torch.zeros(60, dtype=torch.int64), batch_size=1, ranks=ranks):
            assert evaluation.loss == in_order / 60


@pytest.mark.parametrize(("ranks", "batches"), [(1, [7]), (2, [4, 3]), (3, [3, 2, 2]), (9, [1] * 7 + [0] * 2)])
def test_batches_are_distributed_over_the_ranks_and_each_is_run_once(ranks: int, batches: list[int]) -> None:
    seen: dict[int, list[float]] = {rank: [] for rank in range(ranks)}

    class Watched(nn.Module):
        def __init__(self, rank: int) -> None:
            super().__init__()
            self.rank = rank

        def forward(self, inputs: Tensor) -> Tensor:
            assert not self.training
            assert not torch.is_grad_enabled()
            seen[self.rank].append(float(inputs[0, 0]))
            return inputs

    samples = TensorSamples(torch.arange(20.0)[:, None].expand(20, 2), torch.zeros(20, dtype=torch.int64))
    on_ranks(ranks, lambda comm: Evaluator(Inputs(samples), 2, 3, comm).evaluate(Watched(comm.rank)))
    assert [len(firsts) for firsts in seen.values()] == batches
    assert sorted(first for firsts in seen.values() for first in firsts) == [0.0, 3.0, 6.0, 9.0, 12.0, 15.0, 18.0]
    assert seen[0] == [3.0 * batch for batch in range(0, 7, ranks)]


def test_test_images_are_shown_without_augmentation() -> None:
    images = torch.randint(256, (40, 1, 6, 6), generator=seeded(0), dtype=torch.uint8)
    samples = TensorSamples(images, torch.arange(40) % 2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    view = View(augmentations=[augmentations.build("flip", horizontal=1.0)], crop=4)
    losses = [
        Evaluator(Inputs(samples, shown), 2, 8, SingleProcess()).evaluate(model).loss
        for shown in (view, View(crop=4))
    ]
    assert losses[0] == losses[1]
    middle = model(images[:, :, 1:5, 1:5].float() / 255)
    assert losses[0] == pytest.approx(nn.functional.cross_entropy(middle, samples.labels).item(), rel=1e-5)


# Records


def test_a_record_holds_every_measure_by_name() -> None:
    logits, labels = random_answers(1)
    (evaluation,) = asked(logits, labels, owners=torch.arange(150) % 3)
    record = asdict(evaluation.quality())
    assert set(asdict(Quality()).values()) == {None}  # a round without evaluation
    assert None not in record.values()
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "loss"):
        assert record[name] == getattr(evaluation, name)
        assert type(record[name]) is float
    assert record["per_class_recall"] == pytest.approx(evaluation.per_class_recall, nan_ok=True)
    assert record["confusion"] == evaluation.confusion.tolist()
    assert record["worst_client_accuracy"] == min(evaluation.client_accuracy.values())


@pytest.mark.parametrize("classes", [99, 100, 101, 150])
def test_the_confusion_of_many_classes_is_not_recorded(classes: int) -> None:
    assert RECORDED_CLASSES == 100
    labels = torch.arange(300) % classes
    (evaluation,) = asked(torch.randn(300, classes, generator=seeded(0)), labels, batch_size=50)
    record = asdict(evaluation.quality())
    assert (record["confusion"] is None) == (classes > 100)
    assert evaluation.confusion.shape == (classes, classes)
    assert len(record["per_class_recall"]) == classes
    assert record["accuracy"] == evaluation.accuracy


def digits(count: int = 10) -> TensorSamples:
    generator = torch.Generator().manual_seed(0)
    return TensorSamples(torch.randn(count, 3, generator=generator), torch.arange(count) % 2)


def test_evaluation_by_hand() -> None:
    model = nn.Linear(3, 2)
    samples = digits(11)
    evaluation = Evaluator(Inputs(samples), 2, batch_size=4, comm=SingleProcess()).evaluate(model)
    logits = model(samples.inputs).double()
    right = logits.argmax(1) == samples.labels
    assert evaluation.accuracy == pytest.approx(right.double().mean().item())
    assert evaluation.loss == pytest.approx(nn.functional.cross_entropy(logits, samples.labels).item())
    recalls = [right[samples.labels == label].double().mean().item() for label in (0, 1)]
    assert evaluation.per_class_recall == pytest.approx(recalls)
    assert evaluation.balanced_accuracy == pytest.approx(sum(recalls) / 2)


# Sequences


def test_sequences_are_measured_position_by_position_and_padding_counts_nowhere() -> None:
    """The same as if every position with a class were a sample of its own; and equal bits on several ranks."""
    labels = tokens(10, 4, 5).labels
    logits = torch.randn(10, 4, 5, generator=seeded(0))
    owners = torch.arange(10) % 3 - 1
    everyone = [one for ranks in (1, 3) for one in asked(logits, labels, 3, owners, ranks)]
    assert all(str(asdict(one)) == str(asdict(everyone[0])) for one in everyone)
    known = labels.flatten() != IGNORED
    (flat,) = asked(
        logits.view(40, 5)[known], labels.flatten()[known], owners=owners.repeat_interleave(4)[known], batch_size=40
    )
    assert torch.equal(everyone[0].confusion, flat.confusion)
    assert everyone[0].client_accuracy == flat.client_accuracy
    assert everyone[0].accuracy == float((logits.argmax(2) == labels).sum() / known.sum().double())
    assert everyone[0].loss == pytest.approx(flat.loss, rel=1e-12)


# Devices


def test_the_device_is_waited_for_once_after_the_last_batch() -> None:
    shown = []

    class Watched(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            shown.append(len(inputs))
            return super().forward(inputs)

    for samples in (digits(11), TensorSamples(torch.zeros(11, 5, 3), torch.zeros(11, 5, dtype=torch.int64))):
        evaluator = Evaluator(Inputs(samples, device=META), 2, 4, SingleProcess(META), torch.arange(11) % 3)
        with pytest.raises(NotImplementedError, match="copy out of meta"):
            evaluator.evaluate(Watched(3, 2, device=META))
        assert shown == [4, 4, 3]
        shown.clear()
