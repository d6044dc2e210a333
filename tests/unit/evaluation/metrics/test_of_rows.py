"""Metrics of rows against scikit-learn, whole and distributed over ranks by columns."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity, euclidean_distances
from torch import Tensor

from fedsim.evaluation.metrics import RoundRows, Values, metrics
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import UpdateMatrix
from support.column_ranks import Form, both_forms, the_same

HONEST, BYZANTINE = (0, 2, 3, 5), (1, 4)


def rows(seed: int = 0, count: int = 6) -> Tensor:
    return torch.randn(count, 300, generator=torch.Generator().manual_seed(seed)) + 0.2


def given(updates: UpdateMatrix, honest: Sequence[int]) -> RoundRows:
    step, context = torch.zeros(updates.local_columns), RoundContext.of(updates.num_rows)
    return RoundRows(updates=updates, honest=honest, aggregate=step, step=step, context=context)


def value(name: str, form: Form, of: Tensor, honest: Sequence[int] = HONEST) -> Values:
    return the_same(form(of, lambda updates: metrics.build(name).of_rows(given(updates, honest))))


@both_forms
@pytest.mark.parametrize("seed", range(3))
def test_cosines_are_those_of_scikit_learn(form: Form, seed: int) -> None:
    found = value("pairwise_cosine", form, rows(seed))
    cosines = cosine_similarity(rows(seed).double())
    pairs = [cosines[one, other] for one in HONEST for other in HONEST if one < other]
    assert isinstance(found, dict)
    assert float(found["honest"]) == pytest.approx(np.mean(pairs))
    assert float(found["between"]) == pytest.approx(cosines[np.ix_(HONEST, BYZANTINE)].mean())


def test_a_zero_row_has_no_direction_and_a_single_row_no_pair() -> None:
    some = rows()
    some[0] = 0
    found = metrics.build("pairwise_cosine").of_rows(given(UpdateMatrix(some), [0, 1]))
    assert isinstance(found, dict)
    assert float(found["honest"]) == 0
    alone = metrics.build("pairwise_cosine").of_rows(given(UpdateMatrix(some), [2]))
    assert isinstance(alone, dict)
    assert math.isnan(alone["honest"])


@both_forms
@pytest.mark.parametrize("seed", range(3))
def test_variance_is_half_the_mean_squared_distance_of_two_honest_rows(form: Form, seed: int) -> None:
    found = value("honest_variance", form, rows(seed))
    distances = euclidean_distances(rows(seed).double()[list(HONEST)], squared=True)
    assert isinstance(found, float | Tensor)
    assert float(found) == pytest.approx(distances.mean() / 2)
