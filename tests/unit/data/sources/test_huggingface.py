"""Data sets that the library datasets has saved."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedsim.data import Samples
from fedsim.data.partitioners import partitioners
from fedsim.data.sources import sources
from fedsim.errors import ConfigError
from support.data_checks import cut_short, pictures
from support.own_data import contents, dataset_of, pictures_dataset
from support.randomness import seeded

datasets = pytest.importorskip("datasets", reason="needs the extra hf")

pytestmark = pytest.mark.usefixtures("cache")


def load(root: Path, **settings: Any) -> Any:
    return sources.build("huggingface", **settings).load(root)


def same_pictures(samples: Samples, dataset: Any) -> None:
    """The samples are what the library itself decodes, in its order."""
    for ours, row in zip(pictures(samples), dataset, strict=True):
        theirs = np.asarray(row["image"])
        assert np.array_equal(ours.transpose(1, 2, 0), theirs if theirs.ndim == 3 else theirs[..., None])
    assert samples.labels.tolist() == dataset["label"][:]


@pytest.mark.parametrize(
    ("sizes", "mode", "shape", "one_size"),
    [
        (((20, 18),), "L", (1, 20, 18), True),
        (((20, 18),), "RGB", (3, 20, 18), True),
        (((20, 18), (16, 30)), "RGB", (3, 16, 18), False),
    ],
)
def test_images_are_as_the_library_decodes_them(
    sizes: Any, mode: str, shape: Any, one_size: bool, tmp_path: Path
) -> None:
    train, test = pictures_dataset(9, sizes, mode), pictures_dataset(6, sizes, mode, seed=1)
    datasets.DatasetDict({"train": train, "test": test}).save_to_disk(tmp_path / "saved")
    splits = load(tmp_path / "saved")
    same_pictures(splits.train, train)
    same_pictures(splits.test, test)
    assert splits.class_names == ("a", "b", "c")
    assert (splits.input_shape, splits.one_size) == (shape, one_size)
    assert splits.train.columns == {"writer": train["writer"][:]}


def test_one_data_set_is_divided(tmp_path: Path) -> None:
    pictures_dataset(30).select(range(29, -1, -1)).save_to_disk(tmp_path / "saved")
    splits = load(tmp_path / "saved")
    assert (len(splits.train), len(splits.test)) == (24, 6)


def test_partitions_are_clients_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    parts = [pictures_dataset(6 + client, seed=client) for client in range(11)]
    for client, part in enumerate(parts):
        part.save_to_disk(tmp_path / f"partition_{client}")
    pictures_dataset(7, seed=99).save_to_disk(tmp_path / "server_test")
    splits = load(tmp_path)
    assert len(splits.test) == 7
    partitioner = partitioners.build("natural")
    shares = partitioner.partition(splits.train.labels, 11, seeded(0), splits.train.columns)
    for part, share in zip(parts, shares, strict=True):
        picked = splits.train.pick(share).numpy()
        assert np.array_equal(picked[:, 0], np.stack([np.asarray(row["image"]) for row in part]))
    assert partitioner.owners_of_tests(splits.train.columns, splits.test.columns) is None


def test_clients_may_have_tests_of_their_own(tmp_path: Path) -> None:
    for client in range(3):
        pictures_dataset(10, seed=client).train_test_split(test_size=0.3, seed=0).save_to_disk(
            tmp_path / f"client_{client}_data"
        )
    splits = load(tmp_path)
    assert (len(splits.train), len(splits.test)) == (21, 9)
    owners = partitioners.build("natural").owners_of_tests(splits.train.columns, splits.test.columns)
    assert owners is not None
    assert owners.tolist() == [0] * 3 + [1] * 3 + [2] * 3


def test_tokens_and_numbers(tmp_path: Path) -> None:
    tokens = np.arange(160).reshape(40, 4) % 50
    mask, labels = [[1] * 4] * 40, [0, 1] * 20
    columns = {"input_ids": tokens.tolist(), "attention_mask": mask, "label": labels, "text": ["long" * 40] * 40}
    dataset_of(columns).save_to_disk(tmp_path / "tokens")
    splits = load(tmp_path / "tokens")
    assert (splits.vocabulary, splits.input_shape, splits.train.columns) == (50, (4,), {})
    assert sorted(map(tuple, [*contents(splits.train), *contents(splits.test)])) == sorted(map(tuple, tokens))
    table = {"a": np.arange(40) / 7, "b": np.arange(40), "site": ["x", "y"] * 20, "label": labels}
    dataset_of(table).save_to_disk(tmp_path / "numbers")
    splits = load(tmp_path / "numbers")
    assert splits.vocabulary is None
    rows = sorted(contents(splits.train).tolist() + contents(splits.test).tolist())
    assert np.allclose(rows, np.stack([np.arange(40) / 7, np.arange(40)], axis=1))
    assert set(splits.train.columns) == {"site"}


@pytest.mark.parametrize(
    ("columns", "settings", "key", "problem"),
    [
        ({"text": ["a"] * 4, "label": [0, 1] * 2}, {}, "inputs", "no column holds images, token ids or numbers"),
        ({"input_ids": [[1], [1, 2]] * 2, "label": [0, 1] * 2}, {}, "root", "sequences in 'input_ids' differ"),
        ({"x": [1.0, None] * 2, "label": [0, 1] * 2}, {}, "root", "'x' has no value in row 1"),
        ({"x": [1.0, float("nan")] * 2, "label": [0, 1] * 2}, {}, "root", r"hold nan \(the first in row 1"),
        ({"x": [1.0, 2.0]}, {}, "label", "no column is called label"),
        ({"x": [1.0, 2.0], "label": [0, 1]}, {"label": "z"}, "label", "no column 'z'"),
        ({"x": [1.0, 2.0], "label": [0, 1]}, {"inputs": ["z"]}, "inputs", "no column 'z'"),
        ({"x": [1.0, 2.0], "label": [0, 1]}, {"columns": ["z"]}, "columns", "no column 'z'"),
        ({"x": [[1.0]] * 2, "z": [[1.0]] * 2, "label": [0, 1]}, {}, "inputs", "x, z may all be the inputs"),
        ({"x": [1.0] * 4, "label": [0, -1] * 2}, {}, "root", "negative"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(columns: Any, settings: Any, key: str, problem: str, tmp_path: Path) -> None:
    dataset_of(columns).save_to_disk(tmp_path / "saved")
    with pytest.raises(ConfigError, match=problem) as caught:
        load(tmp_path / "saved", **settings)
    assert caught.value.key == key
    assert caught.value.remedy


def test_damaged_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no saved data set"):
        sources.build("huggingface").check(tmp_path)
    pictures_dataset(9).save_to_disk(tmp_path / "saved")
    arrow = next((tmp_path / "saved").glob("*.arrow"))
    arrow.write_bytes(cut_short(arrow.read_bytes()))
    with pytest.raises(ConfigError, match=f"cannot read {tmp_path / 'saved'}: "):
        load(tmp_path / "saved")
    (tmp_path / "saved" / "state.json").write_text("{")
    with pytest.raises(ConfigError, match=f"cannot read {tmp_path / 'saved'}: "):
        load(tmp_path / "saved")


def test_an_image_that_cannot_be_read_is_named_by_its_row(tmp_path: Path) -> None:
    good = pictures_dataset(4)
    encoded = good.cast_column("image", datasets.Image(decode=False))
    rows = [row["image"]["bytes"] for row in encoded]
    rows[2] = b"no image"
    features = {"image": datasets.Image(), "label": good.features["label"]}
    broken = dataset_of(
        {"image": [{"bytes": row, "path": None} for row in rows], "label": good["label"][:]}, features
    )
    broken.save_to_disk(tmp_path / "saved")
    with pytest.raises(ConfigError, match="cannot read the image in row 2 of 'image'"):
        load(tmp_path / "saved")


def test_partitions_of_other_columns_are_refused(tmp_path: Path) -> None:
    pictures_dataset(4).save_to_disk(tmp_path / "partition_0")
    dataset_of({"x": [1.0, 2.0], "label": [0, 1]}).save_to_disk(tmp_path / "partition_1")
    with pytest.raises(ConfigError, match=r"partition_1 has other columns than .*partition_0"):
        load(tmp_path)
