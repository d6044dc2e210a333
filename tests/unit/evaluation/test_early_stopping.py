"""When a run ends early."""

import json
from dataclasses import replace
from typing import get_args

import pytest

from fedsim.config.run import StoppingSection
from fedsim.evaluation.early_stopping import EarlyStopping
from fedsim.records.round_record import Quality, RoundRecord

VALUES = [0.1, 0.3, None, 0.2, 0.3, 0.3, 0.4, 0.1, None, 0.2, 0.2, 0.2]


def record(number: int, value: float | None, metric: str = "validation.accuracy") -> RoundRecord:
    """A round that was evaluated, unless its value is None."""
    accuracy = None if value is None else 0.5
    if metric.startswith("validation."):
        validation = {} if value is None else {metric.removeprefix("validation."): value}
        return RoundRecord(round=number, quality=Quality(accuracy=accuracy), validation=validation, train_loss=None)
    quality = replace(Quality(accuracy=accuracy), **{metric: value})  # type: ignore[arg-type]
    return RoundRecord(round=number, quality=quality, train_loss=None)


def last_round(rule: EarlyStopping, metric: str, values: list[float | None], first: int = 1) -> int | None:
    for number, value in enumerate(values, first):
        rule.after(record(number, value, metric))
        if rule.ends_after(number):
            return number
    return None


def by_definition(values: list[float | None], patience: int, at_least: int) -> int | None:
    """The first round, not before ``at_least``, whose last evaluations are all no better than one before them."""
    for done in range(at_least, len(values) + 1):
        seen = [value for value in values[:done] if value is not None]
        if len(seen) > patience and max(seen[-patience:]) <= max(seen[:-patience]):
            return done
    return None


@pytest.mark.parametrize("patience", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("at_least", [1, 6, 12])
def test_it_ends_when_as_many_evaluations_brought_nothing(patience: int, at_least: int) -> None:
    expected = by_definition(VALUES, patience, at_least)
    for metric in ("validation.accuracy", "accuracy", "macro_f1"):
        assert last_round(EarlyStopping(metric, patience, at_least), metric, VALUES) == expected
    losses = [None if value is None else -value for value in VALUES]
    for metric in ("validation.loss", "loss"):
        assert last_round(EarlyStopping(metric, patience, at_least), metric, losses) == expected


def test_what_is_not_finite_is_no_improvement() -> None:
    rule = EarlyStopping("loss", patience=2, at_least=1)
    for value in (1.0, float("-inf"), float("nan")):
        rule.see(value)
    assert rule.ends_after(3)


@pytest.mark.parametrize("cut", range(len(VALUES)))
def test_a_resumed_rule_ends_where_the_other_does(cut: int) -> None:
    metric = "validation.accuracy"
    first, second = (EarlyStopping(metric, 4, 1) for _ in range(2))
    assert last_round(first, metric, VALUES[:cut]) is None
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert last_round(second, metric, VALUES[cut:], cut + 1) == by_definition(VALUES, 4, 1) == 12


def test_the_state_of_another_metric_does_not_count() -> None:
    rule, other = EarlyStopping("loss", 1, 1), EarlyStopping("accuracy", 1, 1)
    for _ in range(2):
        other.see(0.9)
    rule.load_state_dict(other.state_dict())
    assert other.ends_after(2)
    assert not rule.ends_after(2)


def test_every_metric_that_can_be_chosen_is_one_of_a_record() -> None:
    for name in get_args(StoppingSection.model_fields["metric"].annotation):
        assert last_round(EarlyStopping(name, 1, 1), name, [0.5, 0.5]) == 2, name
