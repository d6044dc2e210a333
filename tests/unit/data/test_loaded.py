"""What a data set of a plugin must not load, each mistake by name."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedsim.data import Splits, TensorSamples
from fedsim.data.loaded import require_splits
from fedsim.errors import ComponentError

GOOD = TensorSamples(torch.randn(6, 2, 3), torch.arange(6) % 2, columns={"room": list("aabbcc")})
SPLITS = Splits(train=GOOD, test=GOOD, class_names=("cat", "dog"), input_shape=(2, 3))


def test_what_is_right_is_taken() -> None:
    assert require_splits(SPLITS, "me") is SPLITS
    tokens = TensorSamples(torch.zeros(4, 5, dtype=torch.int64), torch.full((4, 5), -100))
    sequences = Splits(train=tokens, test=tokens, class_names=("a", "b"), input_shape=(5,), vocabulary=2)
    assert require_splits(sequences, "me") is sequences


@pytest.mark.parametrize(
    ("test", "says"),
    [
        (replace(GOOD, labels=torch.arange(6) % 3), "labels go from 0 to 2, and class_names has 2 names"),
        (replace(GOOD, labels=torch.arange(6) % 2 - 1), "labels go from -1 to 0"),
        (replace(GOOD, labels=(torch.arange(6) % 2).float()), "labels are torch.float32, not torch.int64"),
        (replace(GOOD, labels=None), "labels are nothing"),
        (replace(GOOD, labels=torch.zeros(5, dtype=torch.int64), columns={}), "there are 6 inputs for 5 labels"),
        (replace(GOOD, columns={"room": ["a"]}), "the column room has 1 values for 6 labels"),
        (replace(GOOD, inputs=torch.randn(6, 3, 2)), r"an input has shape \[3, 2\], and input_shape is \[2, 3\]"),
        (replace(GOOD, inputs=torch.zeros(6, 2, 3, dtype=torch.int32)), "inputs are torch.int32"),
    ],
)
def test_what_is_wrong_with_a_side_is_named(test: TensorSamples, says: str) -> None:
    with pytest.raises(ComponentError, match=rf"me: of the samples to test, .*{says}"):
        require_splits(replace(SPLITS, test=test), "me")


def test_what_is_no_splits_is_named(tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match=r"me: load returned \(Tensor, nothing\), not Splits"):
        require_splits((torch.ones(1), None), "me")
