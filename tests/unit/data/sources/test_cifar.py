"""CIFAR-10 and CIFAR-100 against torchvision and pickle."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from fedsim.data.sources import sources
from fedsim.data.sources.cifar import Cifar
from support.data_checks import pairs, pictures, refuse
from support.data_sets import (
    CIFAR10,
    write_cifar10,
    write_cifar100,
)

pytestmark = pytest.mark.usefixtures("cache")


def as_torchvision_reads(kind: type, root: Path, train: bool, monkeypatch: pytest.MonkeyPatch) -> Any:
    """torchvision's data set, made to accept that the files are not the published ones."""
    monkeypatch.setattr(kind, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda path, md5=None: True)
    return kind(root, train=train, download=False)


@pytest.mark.parametrize(
    ("name", "write", "kind"),
    [
        ("cifar10", write_cifar10, torchvision.datasets.CIFAR10),
        ("cifar100", write_cifar100, torchvision.datasets.CIFAR100),
    ],
)
@pytest.mark.parametrize("inside", [False, True], ids=["root above the folder", "root is the folder"])
def test_cifar_is_as_torchvision_reads_it(
    name: str,
    write: Callable[[Path], Path],
    kind: type,
    inside: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write(tmp_path)
    splits = sources.build(name, verify=False).load(folder if inside else tmp_path)
    for samples, train in ((splits.train, True), (splits.test, False)):
        theirs = as_torchvision_reads(kind, tmp_path, train, monkeypatch)
        ours = samples.pick(torch.arange(len(samples)))
        assert isinstance(ours, torch.Tensor)
        assert ours.dtype == torch.uint8
        assert np.array_equal(ours.permute(0, 2, 3, 1).numpy(), theirs.data)
        assert samples.labels.dtype == torch.int64
        assert samples.labels.tolist() == theirs.targets
        assert list(splits.class_names) == theirs.classes
        assert samples.columns == {}
    assert len(splits.train) == {"cifar10": 100, "cifar100": 200}[name]
    assert splits.input_shape == (3, 32, 32)
    assert splits.one_size
    assert splits.num_classes == {"cifar10": 10, "cifar100": 100}[name]


def test_cifar_batches_come_in_order_as_pickle_reads_them(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path, per_batch=3)
    splits = sources.build("cifar10", verify=False).load(tmp_path)
    names = [f"data_batch_{number}" for number in range(1, 6)]
    content = [pickle.loads((folder / name).read_bytes(), encoding="bytes") for name in names]  # noqa: S301 - ours
    assert np.array_equal(
        np.stack(pictures(splits.train)[:15]).reshape(15, 3072),
        np.concatenate([part[b"data"] for part in content]),
    )
    assert splits.train.labels.tolist() == [label for part in content for label in part[b"labels"]]
    assert splits.class_names == tuple(CIFAR10)


@pytest.mark.parametrize("protocol", [3, 4])
def test_cifar_pickled_again_by_python_3_is_the_same(protocol: int, tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path / "a", per_batch=4)
    again = tmp_path / "b" / folder.name
    again.mkdir(parents=True)
    for path in folder.iterdir():
        content = pickle.loads(path.read_bytes(), encoding="latin1")  # noqa: S301 - ours
        (again / path.name).write_bytes(pickle.dumps(content, protocol))
    old, new = (sources.build("cifar10", verify=False).load(tmp_path / part) for part in "ab")
    assert pairs(old.train) == pairs(new.train)
    assert old.class_names == new.class_names


def test_the_files_of_cifar_are_those_that_torchvision_knows() -> None:
    for name, kind in (("cifar10", torchvision.datasets.CIFAR10), ("cifar100", torchvision.datasets.CIFAR100)):
        source: Any = type(sources.build(name))
        assert list(source.train_files) == [file for file, _ in kind.train_list]
        assert list(source.test_files) == [file for file, _ in kind.test_list]
        assert source.folder == kind.base_folder
        assert (source.names_file, source.names_key) == (kind.meta["filename"], kind.meta["key"])


def test_cifar_is_read_once_and_again_when_a_batch_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_cifar10(tmp_path, per_batch=4)
    first = sources.build("cifar10", verify=False).load(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Cifar, "_read", refuse)
        second = sources.build("cifar10", verify=False).load(tmp_path)
    assert pairs(first.train) == pairs(second.train)
    assert pairs(first.test) == pairs(second.test)
    other = write_cifar10(tmp_path / "other", per_batch=5)
    shutil.copy(other / "test_batch", folder / "test_batch")
    third = sources.build("cifar10", verify=False).load(tmp_path)
    assert len(third.test) == 5
    assert pairs(third.train) == pairs(first.train)
