"""Clipping to a radius."""

import pytest
import torch

from fedsim.aggregators.pre import pre_aggregators
from fedsim.errors import ConfigError
from support.aggregation import transform


def test_clipping_at_1e20_and_what_it_refuses() -> None:
    rows = torch.tensor([[3e19, 4e19], [1e-3, 0.0], [0.0, 0.0], [0.0, 2.0]])
    found = transform(pre_aggregators.build("clipping", radius=1), rows)
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [1e-3, 0.0], [0.0, 0.0], [0.0, 1.0]]))
    for radius in (0, -1.0, "large", float("nan")):
        with pytest.raises(ConfigError, match="radius"):
            pre_aggregators.build("clipping", radius=radius)
