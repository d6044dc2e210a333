"""The passes over the rows that methods are made of."""

import torch

from fedsim.benchmark.matrix import MatrixCase
from fedsim.benchmark.passes import PASSES, time_passes


def test_every_pass_is_measured() -> None:
    case = MatrixCase(clients=3, byzantine=0, columns=500, device=torch.device("cpu"), repeats=1)
    readings = list(time_passes(case))
    assert [reading.name for reading in readings] == list(PASSES)
    assert [reading.problem for reading in readings] == [""] * len(readings)
