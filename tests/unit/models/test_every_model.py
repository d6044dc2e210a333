"""What holds for every model."""

import pytest
import torch

from fedsim.models import models


@pytest.mark.parametrize("name", list(models.describe()))
def test_every_model_classifies(name: str) -> None:
    model = models.build(name).build((1, 32, 32), 5)
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 5)


@pytest.mark.parametrize("name", ["mlp", "small_cnn"])
def test_own_models_have_no_weights_and_nothing_to_check(name: str) -> None:
    builder = models.build(name)
    assert not builder.has_weights
    builder.check()
    builder.check_weights()
    assert builder.normalization(3) is None
