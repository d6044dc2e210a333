"""The multi-layer perceptron."""

import pytest
import torch

from fedsim.models import models


@pytest.mark.parametrize(
    ("hidden", "shapes"),
    [([], [(5, 12), (5,)]), ([7, 6], [(7, 12), (7,), (6, 7), (6,), (5, 6), (5,)])],
)
def test_an_mlp_has_the_layers_asked_for(hidden: list[int], shapes: list[tuple[int, ...]]) -> None:
    model = models.build("mlp", hidden=hidden).build((3, 2, 2), 5)
    assert [tuple(parameter.shape) for parameter in model.parameters()] == shapes
    assert model(torch.zeros(4, 3, 2, 2)).shape == (4, 5)
