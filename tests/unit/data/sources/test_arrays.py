"""Arrays of users, from their files to what a run gets."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedsim.data.sources import sources
from fedsim.errors import ConfigError, FedsimWarning
from support.data_checks import loading_error
from support.own_data import blobs, bytes_of, contents, write_npy, write_npz

pytestmark = pytest.mark.usefixtures("cache")

X, Y = blobs()


def test_one_set_is_divided_with_the_same_share_of_each_class(tmp_path: Path) -> None:
    root = write_npy(tmp_path, X=X, y=Y)
    splits = sources.build("arrays").load(root)
    assert splits.input_shape == (4,)
    assert splits.class_names == ("0", "1", "2")
    assert splits.vocabulary is None
    assert torch.bincount(splits.test.labels).tolist() == [4, 4, 4]
    rows = {tuple(row.tolist()): label for row, label in zip(X.astype(np.float32), Y.tolist(), strict=True)}
    found = [(tuple(row.tolist()), label) for side in (splits.train, splits.test)
             for row, label in zip(contents(side), side.labels.tolist(), strict=True)]  # fmt: skip
    assert len(found) == 60
    assert dict(found) == rows
    again = sources.build("arrays", split_seed=1).load(root)
    assert not np.array_equal(contents(again.test), contents(splits.test))


def test_both_sides_are_read_as_they_are_with_their_columns(tmp_path: Path) -> None:
    images, other = bytes_of(20, 16, 17, 3), bytes_of(8, 16, 17, 3, seed=1)
    clients = np.array([f"h{number % 4}" for number in range(20)])
    path = write_npz(
        tmp_path / "mine.npz",
        train_images=images,
        train_labels=np.array(["cat", "dog"] * 10)[:, None],
        test_images=other,
        test_labels=np.array(["dog", "cat"] * 4)[:, None],
        train_client=clients,
        train_age=np.arange(20),
    )
    splits = sources.build("arrays").load(path)
    assert np.array_equal(contents(splits.train), images.transpose(0, 3, 1, 2))
    assert np.array_equal(contents(splits.test), other.transpose(0, 3, 1, 2))
    assert splits.class_names == ("cat", "dog")
    assert splits.train.labels.tolist() == [0, 1] * 10
    assert splits.test.labels.tolist() == [1, 0] * 4
    assert list(splits.train.columns["client"]) == clients.tolist()
    assert list(splits.train.columns["age"]) == [str(number) for number in range(20)]
    assert list(splits.test.columns["client"]) == [""] * 8
    assert splits.input_shape == (3, 16, 17)


def test_tokens_have_a_vocabulary_and_a_label_each_if_so_given(tmp_path: Path) -> None:
    tokens = np.arange(60).reshape(12, 5)
    write_npz(tmp_path / "one.npz", tokens=tokens, y=np.arange(12) % 2)
    write_npz(tmp_path / "each.npz", x=tokens, y=tokens % 3)
    one = sources.build("arrays", kind="tokens").load(tmp_path / "one.npz")
    each = sources.build("arrays", kind="tokens", vocabulary=99).load(tmp_path / "each.npz")
    assert (one.vocabulary, each.vocabulary) == (60, 99)
    assert one.input_shape == each.input_shape == (5,)
    assert torch.equal(each.train.labels, torch.from_numpy(contents(each.train)) % 3)
    assert (len(each.train), len(each.test)) == (10, 2)


def test_flat_images_get_the_shape_that_is_set(tmp_path: Path) -> None:
    images = bytes_of(20, 6, 7)
    write_npy(tmp_path, x=images.reshape(20, 42), y=np.arange(20) % 2)
    splits = sources.build("arrays", shape=[6, 7]).load(tmp_path)
    assert splits.input_shape == (1, 6, 7)
    assert contents(splits.train).dtype == np.uint8
    assert "cannot have the shape [6, 8]" in self_error(tmp_path, shape=[6, 8]).problem


def self_error(root: Path, **settings: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        sources.build("arrays", **settings).load(root)
    return caught.value


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(tmp_path: Path, monkeypatch: Any) -> None:
    write_npy(tmp_path, x=X, y=Y)
    first = sources.build("arrays").load(tmp_path)
    write_npy(tmp_path, x=X + 1, y=Y)
    second = sources.build("arrays").load(tmp_path)
    assert np.allclose(contents(second.train), contents(first.train) + 1, atol=1e-5)
    monkeypatch.setattr("fedsim.data.sources.arrays.open_arrays", None)
    assert np.array_equal(contents(sources.build("arrays").load(tmp_path).train), contents(second.train))


def test_what_is_no_column_is_said_every_time(tmp_path: Path) -> None:
    write_npz(tmp_path / "d.npz", x=X, y=Y, mean=np.zeros(4), site=np.arange(60) % 5)
    for _ in range(2):
        with pytest.warns(FedsimWarning, match="left out: mean, for it is no value for each sample"):
            splits = sources.build("arrays").load(tmp_path)
    assert list(splits.train.columns) == ["site"]


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"x": X, "y": Y[:-1]}, "x holds 60 samples, and y 59 labels"),
        ({"x": X, "y": np.eye(3)[Y].astype(int)}, r"the labels in y are \[60, 3\] for inputs \[60, 4\]"),
        ({"x": X, "y": Y + 0.5}, "real numbers"),
        ({"x": X, "y": np.zeros(60, int)}, "all labels in y are 0"),
        ({"x": np.where(X[7, 2] == X, np.nan, X), "y": Y}, r"x hold nan \(the first in row 7"),
        ({"x": X, "y": np.arange(60)}, "every class has a single sample"),
        ({"x": X, "y": Y, "x_test": X[:, :2], "y_test": Y}, "inputs differ in shape"),
        ({"x": X, "y": Y, "x_test": X, "y_test": np.array(["a"] * 60)}, "labels differ in kind or shape"),
    ],
)
def test_what_does_not_fit_is_refused(arrays: Any, problem: str, tmp_path: Path) -> None:
    write_npz(tmp_path / "d.npz", **arrays)
    error = loading_error("arrays", tmp_path)
    assert re.search(problem, error.problem)
    assert str(tmp_path) in error.problem


def test_a_check_knows_labels_and_columns_without_inputs(tmp_path: Path, monkeypatch: Any) -> None:
    write_npz(tmp_path / "d.npz", x=X, y=Y, client=np.arange(60) % 5)
    source = sources.build("arrays")
    outline = source.survey(tmp_path)
    assert outline is not None
    monkeypatch.setattr("fedsim.data.sources.arrays.QUICK", 10)
    assert source.sketch(tmp_path) is None
    splits = source.load(tmp_path)
    assert torch.equal(outline[0].labels, splits.train.labels)
    assert outline[1].columns == splits.test.columns
    assert source.sketch(tmp_path) is not None  # it is in the cache by now
