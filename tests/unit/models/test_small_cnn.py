"""The small convolutional network."""

from typing import Any

import pytest
import torch
from torch import nn

from fedsim.data.sources import sources
from fedsim.errors import ConfigError
from fedsim.models import models


def test_images_too_small_for_the_cnn_are_refused() -> None:
    models.build("small_cnn").build((1, 16, 16), 5)
    for shape in ((1, 15, 16), (400,)):
        with pytest.raises(ConfigError, match="small_cnn needs"):
            models.build("small_cnn").build(shape, 5)
    with pytest.raises(ConfigError, match=r"shape\.1"):
        sources.build("synthetic", shape=[1, -3])


def test_a_small_cnn_has_the_layers_asked_for() -> None:
    model = models.build("small_cnn", width=4, hidden=9, batch_norm=True, dropout=0.25).build((3, 20, 24), 5)
    # 20 -> 16 -> 8 -> 4 -> 2 and 24 -> 20 -> 10 -> 6 -> 3 pixels.
    assert [tuple(parameter.shape) for parameter in model.parameters()] == [
        *[(4, 3, 5, 5), (4,), (4,), (4,)],
        *[(8, 4, 5, 5), (8,), (8,), (8,)],
        *[(9, 8 * 2 * 3), (9,), (5, 9), (5,)],
    ]
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.25]
    assert all(module.training for module in model.modules())
    assert model(torch.zeros(4, 3, 20, 24)).shape == (4, 5)
    plain = models.build("small_cnn", width=4, hidden=9).build((3, 20, 24), 5)
    assert not list(plain.buffers())


def test_building_a_small_cnn_leaves_its_batch_statistics_at_the_start() -> None:
    model: Any = models.build("small_cnn", batch_norm=True).build((1, 16, 16), 5)
    fresh = nn.BatchNorm2d(16)
    assert torch.equal(model[0][1].running_mean, fresh.running_mean)
    assert torch.equal(model[0][1].running_var, fresh.running_var)
