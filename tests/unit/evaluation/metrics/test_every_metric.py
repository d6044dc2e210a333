"""What every registered metric holds to."""

from collections.abc import Sequence

import pytest
import torch

from fedsim.evaluation.metrics import Metric, Predictions, RoundRows, metrics
from fedsim.evaluation.run_metrics import RunMetrics
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from support.column_ranks import distributed, the_same
from support.predictions import random_predictions, said

EVERY = [name for name, one in metrics.describe().items() if metrics.get(name).__module__.startswith("fedsim.")]


def values(metric: Metric, given: Predictions | RoundRows) -> dict[str, float | None]:
    run = RunMetrics([metric])
    return dict(run.of_predictions(given, 0) if isinstance(given, Predictions) else run.of_rows(given))


def round_rows(updates: UpdateMatrix, honest: Sequence[int] = (0, 1, 2)) -> RoundRows:
    step, context = torch.zeros(updates.local_columns), RoundContext.of(updates.num_rows)
    return RoundRows(updates=updates, honest=honest, aggregate=step, step=step, context=context)


ROWS = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
ODD_PREDICTIONS = [
    said(torch.full((4, 7), torch.nan), torch.arange(4)),  # of a model that has diverged
    said(torch.zeros(1, 7), torch.tensor([2])),
    said(torch.zeros(5, 7), torch.full((5,), 2)),
]
ODD_ROWS = [round_rows(UpdateMatrix(ROWS * scale), honest) for scale in (0, 1) for honest in ([], [3], [*range(5)])]


@pytest.mark.parametrize("name", EVERY)
def test_it_has_numbers_leaves_its_input_alone_and_tolerates_the_odd(name: str) -> None:
    metric, rows, predictions = metrics.build(name), ROWS.clone(), random_predictions(0)
    given = predictions if metric.uses_predictions else round_rows(UpdateMatrix(rows))
    found = values(metric, given)
    assert found
    assert None not in found.values()
    assert values(metric, given) == found
    assert torch.equal(rows, ROWS)
    assert torch.equal(predictions.logits, random_predictions(0).logits)
    for odd in ODD_PREDICTIONS if metric.uses_predictions else ODD_ROWS:
        assert values(metric, odd).keys() == found.keys()


@pytest.mark.parametrize("name", [name for name in EVERY if metrics.get(name).shardable])
def test_a_shardable_one_has_the_same_bits_where_columns_are_distributed(name: str) -> None:
    metric = metrics.build(name)
    parts = distributed(ROWS, 3, lambda updates: values(metric, round_rows(updates)))
    assert the_same(parts) == values(metric, round_rows(UpdateMatrix(ROWS)))
