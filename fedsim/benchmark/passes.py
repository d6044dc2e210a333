"""The passes over the rows that methods are made of, each alone: row statistics and sums of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch

from fedsim.benchmark.matrix import MatrixCase
from fedsim.benchmark.measure import Reading, measure
from fedsim.updates.matrix import UpdateMatrix

PASSES: Mapping[str, Callable[[UpdateMatrix], object]] = {
    "finite rows": UpdateMatrix.finite_rows,
    "norms": UpdateMatrix.row_norms,
    "gram": UpdateMatrix.gram,
    "squared distances": UpdateMatrix.squared_distances,
    "sign agreement": UpdateMatrix.sign_agreement,
    "norms and sign agreement": lambda updates: updates.prepare("norms", "sign_agreement"),
    "0.9-quantiles": lambda updates: updates.absolute_quantiles(0.9),
    "mean": UpdateMatrix.mean,
    "weighted sum": lambda updates: updates.weighted_sum(torch.linspace(0.5, 1, updates.num_rows)),
    "one row": lambda updates: updates.row(0).clone(),
}


def time_passes(case: MatrixCase) -> Iterator[Reading]:
    """A reading of each pass, in reads of the matrix [K, D]."""
    rows = case.rows()
    for name, work in PASSES.items():
        # A matrix made again: what it has cached would not be there in another round either.
        yield measure(name, lambda work=work: work(UpdateMatrix(rows)), rows.sum, case.repeats, case.device)  # type: ignore[misc]
