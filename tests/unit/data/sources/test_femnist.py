"""FEMNIST as LEAF writes it: bytes, writers, both ways of splitting, damaged files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedsim.data.partitioners import partitioners
from fedsim.data.sources import sources
from fedsim.errors import ConfigError, FedsimWarning
from support.data_checks import grown_memory, loading_error, pictures
from support.published_images import (
    FEMNIST_CLASSES,
    leaf_file,
    leaf_images,
    leaf_users,
    write_femnist,
    write_femnist_all_data,
)

pytestmark = pytest.mark.usefixtures("cache")


def test_every_grey_level_comes_back_as_the_byte_that_it_was(tmp_path: Path) -> None:
    """LEAF divides bytes by 255 and writes the quotients as text."""
    every = np.resize(np.arange(256, dtype=np.uint8), (2, 784))
    for side in ("train", "test"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "all_data_0.json").write_text(leaf_file({"f0000_14": (every, [0, 61])}))
    splits = sources.build("femnist").load(tmp_path)
    assert np.array_equal(np.stack(pictures(splits.train)).reshape(2, 784), every)
    assert splits.class_names == tuple(FEMNIST_CLASSES)
    assert splits.input_shape == (1, 28, 28)


@pytest.mark.parametrize("place", [".", "data"])
def test_the_split_is_that_of_leaf_with_each_samples_writer(place: str, tmp_path: Path) -> None:
    written = write_femnist(tmp_path / place)
    splits = sources.build("femnist").load(tmp_path)
    for samples, side in ((splits.train, "train"), (splits.test, "test")):
        users = written[side]
        assert samples.columns["writer"] == [name for name, (_, labels) in users.items() for _ in labels]
        assert samples.labels.tolist() == [label for _, labels in users.values() for label in labels]
        pixels = np.concatenate([images for images, _ in users.values()])
        assert np.array_equal(np.stack(pictures(samples)).reshape(-1, 784), pixels)


def test_writers_are_clients_and_own_their_tests(tmp_path: Path) -> None:
    written = write_femnist(tmp_path)
    splits = sources.build("femnist").load(tmp_path)
    natural = partitioners.build("natural")
    clients = natural.partition(splits.train.labels, 4, torch.Generator(), splits.train.columns)
    owners = natural.owners_of_tests(splits.train.columns, splits.test.columns)
    for client, name in enumerate(sorted(written["train"])):
        assert splits.train.labels[clients[client]].tolist() == written["train"][name][1]
        assert splits.test.labels[owners == client].tolist() == written["test"][name][1]


def test_all_data_hold_out_a_share_of_each_writer(tmp_path: Path) -> None:
    users = write_femnist_all_data(tmp_path)
    splits = sources.build("femnist", test_share=0.2).load(tmp_path)
    for name, (images, labels) in users.items():
        sides = []
        for samples in (splits.train, splits.test):
            chosen = [index for index, writer in enumerate(samples.columns["writer"]) if writer == name]
            picked = samples.pick(torch.tensor(chosen))
            assert isinstance(picked, torch.Tensor)
            sides.append([image.numpy().tobytes() for image in picked])
        assert len(sides[1]) == round(0.2 * len(labels))
        assert sorted(sides[0] + sides[1]) == sorted(image.tobytes() for image in images)


def test_all_data_hold_out_whole_writers(tmp_path: Path) -> None:
    users = write_femnist_all_data(tmp_path)
    load = lambda **settings: sources.build("femnist", hold_out="writers", **settings).load(tmp_path)  # noqa: E731
    for share, count in ((0.01, 1), (0.4, 2), (0.99, 4)):
        splits = load(test_share=share)
        train, test = (set(samples.columns["writer"]) for samples in (splits.train, splits.test))
        assert len(test) == count
        assert not train & test
        assert train | test == set(users)
    drawn = {tuple(sorted(set(load(split_seed=seed, test_share=0.4).test.columns["writer"]))) for seed in range(9)}
    assert len(drawn) > 1


def test_settings_of_a_split_that_leaf_has_made_have_no_effect(tmp_path: Path) -> None:
    write_femnist(tmp_path)
    with pytest.warns(FedsimWarning, match="data.hold_out has no effect: LEAF has split"):
        sources.build("femnist", hold_out="writers").check(tmp_path)


def test_the_order_of_writers_and_files_does_not_matter_for_who_is_held_out(tmp_path: Path) -> None:
    """A writer's number is that of the sorted names."""
    users = leaf_users(["a", "b", "c", "d"], [3, 3, 3, 3], 0)
    for part, order in (("one", "abcd"), ("two", "dbca")):
        (tmp_path / part / "all_data").mkdir(parents=True)
        (tmp_path / part / "all_data" / "x.json").write_text(leaf_file({name: users[name] for name in order}))
    held = [
        set(sources.build("femnist", hold_out="writers").load(tmp_path / part).test.columns["writer"])
        for part in ("one", "two")
    ]
    assert held[0] == held[1]


def changed(root: Path, change: Any) -> Path:
    """The first training file after a change of what is in it."""
    write_femnist(root)
    path = next(iter(sorted((root / "train").iterdir())))
    content = json.loads(path.read_text())
    change(content, content["user_data"][content["users"][0]])
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _, user: user["y"].__setitem__(0, 62), "label 62 of writer 'f0001_41' is not from 0 to 61"),
        (lambda _, user: user["y"].__setitem__(0, -1), "label -1"),
        (lambda _, user: user["y"].__setitem__(0, "A"), "label 'A'"),
        (lambda _, user: user["y"].__setitem__(0, True), "label True"),
        (
            lambda _, user: user["x"].__setitem__(0, [0.0] * 783),
            "not every image of writer 'f0001_41' has 784 numbers",
        ),
        (lambda _, user: user["x"].__setitem__(0, ["a"] * 784), "not every image"),
        (lambda _, user: user["x"][0].__setitem__(5, 0.5), "0.5 in an image of writer 'f0001_41' is no grey level"),
        (lambda _, user: user["x"][0].__setitem__(5, 256 / 255), "is no grey level"),
        (lambda _, user: user["x"][0].__setitem__(5, float("nan")), "nan in an image"),
        (lambda _, user: user["x"][0].__setitem__(5, float("inf")), "inf in an image"),
        (lambda content, _: content.pop("user_data"), "no dictionary 'user_data'"),
    ],
)
def test_a_damaged_file_is_named(change: Any, says: str, tmp_path: Path, cache: Path) -> None:
    path = changed(tmp_path, change)
    error = loading_error("femnist", tmp_path)
    assert str(path) in error.problem
    assert says in error.problem
    assert "preprocess.sh" in error.remedy
    assert list(cache.iterdir()) == []


def test_a_root_without_the_folders_says_how_leaf_makes_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no folders .*train and .*test, nor .*all_data") as raised:
        sources.build("femnist").check(tmp_path)
    assert "preprocess.sh -s niid" in raised.value.remedy
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    with pytest.raises(ConfigError, match=r"train holds no \.json file"):
        sources.build("femnist").check(tmp_path)


def test_a_side_without_samples_is_named(tmp_path: Path) -> None:
    write_femnist(tmp_path)
    for path in (tmp_path / "test").iterdir():
        path.write_text(leaf_file({}))
    assert f"the files in {tmp_path / 'test'} hold no samples" in loading_error("femnist", tmp_path).problem


def test_files_are_read_one_by_one(tmp_path: Path) -> None:
    """Ten files take hardly more memory than one, and far less than their text."""
    (tmp_path / "all_data").mkdir()
    text = leaf_file({"w": (leaf_images(400, 0), [0] * 400)})
    for number in range(10):
        (tmp_path / "all_data" / f"all_data_{number}.json").write_text(text.replace('"w"', f'"w{number}"'))
    size = len(text) / 2**20
    assert grown_memory(lambda: sources.build("femnist").load(tmp_path)) < 4 * size + 8
