"""What arrays are for, by their names."""

import pytest

from fedsim.data.own.array_names import Side, sort_out
from fedsim.errors import ConfigError


@pytest.mark.parametrize(
    ("names", "train", "test"),
    [
        (["x", "y"], ("x", "y"), None),
        (["X", "Y"], ("X", "Y"), None),
        (["images", "labels"], ("images", "labels"), None),
        (["x_train", "y_train", "x_test", "y_test"], ("x_train", "y_train"), ("x_test", "y_test")),
        (["Xtrain", "ytrain", "Xtest", "ytest"], ("Xtrain", "ytrain"), ("Xtest", "ytest")),
        (["trainX", "trainY", "testX", "testY"], ("trainX", "trainY"), ("testX", "testY")),
        (
            ["train-data", "train-labels", "test.data", "test labels"],
            ("train-data", "train-labels"),
            ("test.data", "test labels"),
        ),
        (
            ["training_x", "training_targets", "testing_x", "testing_targets"],
            ("training_x", "training_targets"),
            ("testing_x", "testing_targets"),
        ),
        (["x", "y", "x_test", "y_test"], ("x", "y"), ("x_test", "y_test")),
        (["input_ids", "labels"], ("input_ids", "labels"), None),
    ],
)
def test_usual_names_are_understood(names: list[str], train: tuple[str, str], test: tuple[str, str] | None) -> None:
    sides = sort_out(names)
    assert (sides["train"].inputs, sides["train"].labels) == train
    assert ("test" in sides) == (test is not None)
    if test is not None:
        assert (sides["test"].inputs, sides["test"].labels) == test


def test_other_arrays_are_columns_of_their_side() -> None:
    sides = sort_out(["x_train", "y_train", "train_hospital", "site", "x_val", "y_val", "hospital_val", "values"])
    assert sides["train"].columns == {"hospital": "train_hospital", "site": "site", "values": "values"}
    assert sides["val"] == Side("x_val", "y_val", {"hospital": "hospital_val"})


def test_names_that_are_given_count_alone() -> None:
    sides = sort_out(["feat_train", "x_train", "cls_train", "feat_test", "cls_test"], inputs="feat", labels="cls")
    assert sides["train"] == Side("feat_train", "cls_train", {"x": "x_train"})
    assert sides["test"].inputs == "feat_test"


@pytest.mark.parametrize(
    ("names", "key", "problem"),
    [
        (["x"], "labels", r"no array of labels \(found: x\)"),
        (["a", "b"], "inputs", r"no array of inputs \(found: a, b\)"),
        (["x", "y", "x_test"], "labels", r"no array of labels for test"),
        (["x_test", "y_test"], "inputs", "no array of inputs"),
        (["x", "images", "y"], "inputs", "both x and images may be the inputs"),
        ([], "inputs", "found: nothing"),
    ],
)
def test_what_is_missing_or_not_clear_is_refused(names: list[str], key: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        sort_out(names)
    assert caught.value.key == key
