"""Metrics of predictions against scikit-learn, or against their definition in a plain loop."""

import math

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    mean_squared_error,
    roc_auc_score,
    top_k_accuracy_score,
)
from torch import nn

from fedsim.errors import ConfigError
from fedsim.evaluation.metrics import Predictions, metrics
from support.predictions import random_predictions, said

SEEDS = pytest.mark.parametrize("seed", range(4))


def value(name: str, predictions: Predictions, **settings: object) -> float:
    found = metrics.build(name, **settings).of_predictions(predictions)
    assert isinstance(found, float)
    return found


@SEEDS
@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_is_that_of_scikit_learn(seed: int, k: int) -> None:
    given = random_predictions(seed)
    distinct = given.logits + 1e-3 * torch.arange(7).flip(0)  # ties go to the lower class here, to the higher there
    given = said(distinct, given.labels)
    expected = top_k_accuracy_score(given.labels, given.logits, k=k, labels=range(7))
    assert value("top_k", given, k=k) == pytest.approx(expected)


@SEEDS
def test_top_1_is_the_accuracy_where_logits_are_tied(seed: int) -> None:
    given = random_predictions(seed)
    given = said(given.logits.round(), given.labels)
    assert value("top_k", given, k=1) == pytest.approx(accuracy_score(given.labels, given.logits.numpy().argmax(1)))


@SEEDS
def test_auroc_is_the_mean_over_the_classes_that_occur(seed: int) -> None:
    given = random_predictions(seed)
    areas = [
        roc_auc_score((given.labels == label).numpy(), given.probabilities[:, label].numpy())
        for label in range(7)
        if label != 3
    ]
    assert value("auroc", given) == pytest.approx(np.mean(areas), rel=1e-12)


@SEEDS
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_calibration_error_is_what_the_curve_of_scikit_learn_says(seed: int, bins: int) -> None:
    given = random_predictions(seed)
    confidence, predicted = (part.numpy() for part in given.probabilities.max(1))
    right = predicted == given.labels.numpy()
    accuracies, confidences = calibration_curve(right, confidence, n_bins=bins)
    counts = np.bincount(np.ceil(confidence * bins).astype(int) - 1, minlength=bins)
    expected = counts[counts > 0] / 200 @ np.abs(accuracies - confidences)
    assert value("expected_calibration_error", given, bins=bins) == pytest.approx(expected, rel=1e-9)


@SEEDS
def test_brier_is_a_squared_error(seed: int) -> None:
    given = random_predictions(seed)
    truth = np.eye(7)[given.labels.numpy()]
    expected = 7 * mean_squared_error(truth, given.probabilities.numpy())
    assert value("brier", given) == pytest.approx(expected, rel=1e-12)
    sure = 100 * nn.functional.one_hot(given.labels, 7).float()
    assert value("brier", said(sure, given.labels)) == pytest.approx(0)
    assert value("brier", said(sure.roll(1, 1), given.labels)) == pytest.approx(2)


@SEEDS
def test_attack_success_is_read_from_the_confusion_matrix(seed: int) -> None:
    given = random_predictions(seed)
    counts = confusion_matrix(given.labels, given.predicted, labels=range(7))
    mirrored = [counts[label, 6 - label] for label in range(7) if label != 3]
    assert value("attack_success", given) == pytest.approx(sum(mirrored) / 200)
    assert value("attack_success", given, source=1) == pytest.approx(counts[1, 5] / counts[1].sum())
    assert value("attack_success", given, source=1, target=0) == pytest.approx(counts[1, 0] / counts[1].sum())
    others = np.delete(counts, 2, axis=0)
    assert value("attack_success", given, target=2) == pytest.approx(others[:, 2].sum() / others.sum())
    assert math.isnan(value("attack_success", given, source=3, target=0))  # no sample


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("top_k", {"k": 7}, "k: the class is always among 7 of 7; give at most 6"),
        ("attack_success", {"source": 7}, "source: 7 is no class; give one from 0 to 6"),
        ("attack_success", {"target": 9}, "target: 9 is no class; give one from 0 to 6"),
        ("attack_success", {"source": 2, "target": 2}, "target: it is class 2, as the source"),
        ("attack_success", {"source": 3}, "target: it is class 3, as the source"),
    ],
)
def test_settings_that_make_no_sense_for_the_classes_are_refused(
    name: str, settings: dict[str, int], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        metrics.build(name, **settings).check(7)
