"""A model read into a row, and loaded from it."""

import torch
from torch import nn

from fedsim.updates.model_rows import ModelRows


def test_frozen_parameters_and_their_buffers_do_not_travel_and_tied_ones_travel_once() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3), nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False))
    model[2].weight = model[1].weight
    model[0].requires_grad_(False)
    rows = ModelRows(model)
    assert list(rows.layout.shapes) == ["1.weight", "1.bias", "2.bias"]
    assert list(rows.buffer_layout.shapes) == ["3.running_mean", "3.running_var"]


def test_reading_and_loading_a_model_are_inverse() -> None:
    first, second = (ModelRows(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))) for _ in range(2))
    row, buffers = first.read()
    second.load(row, buffers + 1)
    assert torch.equal(second.read()[0], row)
    assert torch.equal(second.read()[1], buffers + 1)
