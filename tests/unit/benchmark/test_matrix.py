"""What aggregators are measured on."""

import pytest
import torch

from fedsim.aggregators import available_aggregators
from fedsim.benchmark.matrix import MatrixCase, square_layers, time_aggregators

CPU = torch.device("cpu")


@pytest.mark.parametrize("columns", [1, 2, 5, 1024**2, 11_173_962])
def test_the_layout_covers_every_column(columns: int) -> None:
    assert square_layers(columns).size == columns


def test_every_aggregator_gets_rows_that_it_can_work_on() -> None:
    case = MatrixCase(clients=7, byzantine=0, columns=5000, device=CPU, repeats=1)
    readings = list(time_aggregators(case, list(available_aggregators())))
    assert [reading.name for reading in readings] == list(available_aggregators())
    assert [reading.problem for reading in readings] == [""] * len(readings)
    torch.testing.assert_close(case.rows(), case.rows(), rtol=0, atol=0)
