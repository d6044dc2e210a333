"""Synthetic blobs."""

from typing import Any

import pytest
import torch

from fedsim.data.sources import sources

pytestmark = pytest.mark.usefixtures("cache")


def test_synthetic_blobs_have_the_centres_and_spread_they_should() -> None:
    settings = {"num_train": 3000, "num_test": 1500, "num_classes": 3, "shape": [2, 4, 5]}
    narrow: Any = sources.build("synthetic", spread=0.5, **settings).load(None)
    wide: Any = sources.build("synthetic", spread=2.0, **settings).load(None)
    assert narrow.input_shape == (2, 4, 5)
    assert narrow.class_names == ("0", "1", "2")
    assert narrow.one_size
    assert narrow.train.labels.tolist() == [0, 1, 2] * 1000
    assert narrow.test.labels.tolist() == [0, 1, 2] * 500
    for label in range(3):
        train = narrow.train.inputs[narrow.train.labels == label]
        test = narrow.test.inputs[narrow.test.labels == label]
        assert train.shape[1:] == (2, 4, 5)
        assert (train.mean(0) - test.mean(0)).abs().max() < 5 * 0.5 * (1 / 1000 + 1 / 500) ** 0.5
        assert abs(float(train.std()) ** 2 - float(train.mean(0).std()) ** 2 - 0.25) < 0.05
        far = wide.train.inputs[wide.train.labels == label]
        assert (far.mean(0) - train.mean(0)).abs().max() < 5 * 1.5 / 1000**0.5
        assert (far - far.mean(0)).std() / (train - train.mean(0)).std() == pytest.approx(4, rel=0.01)
    centres = torch.stack([narrow.train.inputs[label::3].mean(0) for label in range(3)])
    assert float(centres.std()) == pytest.approx(1, abs=0.2)
    assert not torch.equal(narrow.train.inputs[:1500], narrow.test.inputs)
    again: Any = sources.build("synthetic", spread=0.5, **settings).load(None)
    assert torch.equal(again.train.inputs, narrow.train.inputs)
