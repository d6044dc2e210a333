"""Labels that users bring, as classes."""

from typing import Any

import numpy as np
import pytest

from fedsim.data.own.class_labels import to_classes
from fedsim.errors import ConfigError


@pytest.mark.parametrize(
    ("labels", "classes", "names"),
    [
        ([0, 1, 2, 1], [0, 1, 2, 1], ("0", "1", "2")),
        ([5, 7, 100], [0, 1, 2], ("5", "7", "100")),
        ([10, 9, 9], [1, 0, 0], ("9", "10")),
        ([-1, 1, 1], [0, 1, 1], ("-1", "1")),
        (["dog", "cat", "dog"], [1, 0, 1], ("cat", "dog")),
        ([b"dog", "höhe".encode()], [0, 1], ("dog", "höhe")),
        ([True, False], [1, 0], ("False", "True")),
        ([[0, 3], [3, 0]], [[0, 1], [1, 0]], ("0", "3")),
    ],
)
@pytest.mark.parametrize("kind", [None, np.uint8, np.int32])
def test_classes_are_the_different_labels_in_order(
    labels: Any, classes: Any, names: tuple[str, ...], kind: Any
) -> None:
    array = np.array(labels)
    if kind is not None and array.dtype.kind == "i" and array.min() >= 0:
        array = array.astype(kind)
    found, found_names = to_classes(array, "y")
    assert found.tolist() == classes
    assert found.dtype == np.int64
    assert found_names == names


def test_names_of_classes_keep_numbers_as_they_are() -> None:
    assert to_classes(np.array([2, 0]), "y", ["a", "b", "c"])[0].tolist() == [2, 0]
    assert to_classes(np.array(["c", "a"]), "y", ["a", "b", "c"])[0].tolist() == [2, 0]


@pytest.mark.parametrize(
    ("labels", "names", "problem"),
    [
        ([0.0, 1.0], (), "the labels in y are real numbers"),
        ([0, 1, -1, -7], (), r"negative \(the first in row 2: -1\)"),
        ([3, 3], (), "all labels in y are 3"),
        ([], (), "y are real numbers"),
        (["a", "z"], ("a", "b"), "a label 'z' that is no class"),
        ([0, 2], ("a", "b"), "a label 2, but there are 2 names"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), (), "of type datetime64"),
    ],
)
def test_what_names_no_class_is_refused(labels: Any, names: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        to_classes(np.array(labels), "y", names)
    assert caught.value.remedy
