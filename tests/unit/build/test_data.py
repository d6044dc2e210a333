"""The data of a run: clients that never train, and what is said when they are loaded."""

import logging
from pathlib import Path

import pytest
import torch

from fedsim.build.components import build_components
from fedsim.build.data import RunData, load_data
from fedsim.comm import SingleProcess
from fedsim.data.split_file import save_or_check_split
from fedsim.errors import ConfigError
from support.configuration import configured

BLOBS = ["data.name=synthetic", "model.name=mlp", "attack.num_byzantine=0", "attack.name=none"]


def said(caplog: pytest.LogCaptureFixture, *overrides: str) -> list[str]:
    """What is said when the data are loaded."""
    with caplog.at_level(logging.WARNING):
        load_data(build_components(configured(*BLOBS, *overrides)), SingleProcess())
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("clients", [6, 30])
def test_without_a_client_of_two_samples_nothing_is_trained(clients: int) -> None:
    components = build_components(
        configured(*BLOBS, f"data.num_train={clients}", f"clients.count={clients}", "data.partition={name: iid}")
    )
    with pytest.raises(ConfigError, match="no client that trains has two samples") as caught:
        load_data(components, SingleProcess())
    assert caught.value.key == "clients.count"


def test_clients_that_never_train_are_named(caplog: pytest.LogCaptureFixture) -> None:
    overrides = ["data.num_train=11", "clients.count=9", "data.partition={name: iid}", "data.num_test=10"]
    (text,) = said(caplog, *overrides)
    assert "and 2 more have fewer than two samples, so no batch, and never train;" in text
    assert text.startswith("warning: clients ")
    assert "data.partition.min_samples: 2" in text


def test_one_client_that_never_trains_is_named(caplog: pytest.LogCaptureFixture) -> None:
    (text,) = said(caplog, "data.num_train=15", "clients.count=8", "data.partition={name: iid}")
    assert "has fewer than two samples, so no batch, and never trains;" in text


def test_clients_that_are_not_to_train_are_not_missed(caplog: pytest.LogCaptureFixture) -> None:
    """Byzantine clients that make their rows of nothing need no samples."""
    split = ["data.num_train=15", "clients.count=8", "data.partition={name: iid}"]
    (text,) = said(caplog, *split)
    idle = text.split("client ")[1].split()[0]
    caplog.clear()
    assert said(caplog, *split, f"attack={{name: zero, clients: [{idle}]}}") == []


def test_classes_without_test_samples_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    (text,) = said(caplog, "data.num_test=7")
    assert text.startswith("warning: classes '7', '8', '9' have training samples but no test samples")


def loaded(*overrides: str) -> RunData:
    return load_data(build_components(configured(*BLOBS, "data.num_train=1000", *overrides)), SingleProcess())


def classes_of_clients(data: RunData) -> list[int]:
    """How many samples of each class the clients have together."""
    return data.splits.train.labels[torch.cat(list(data.client_indices))].bincount().tolist()


def test_classes_become_rarer_as_data_imbalance_says() -> None:
    data = loaded("data.imbalance=100")
    assert classes_of_clients(data) == [100, 59, 35, 21, 12, 7, 4, 2, 1, 1]
    assert len(data.splits.train) == 242
    assert data.splits.test.labels.bincount().tolist() == [20] * 10
    assert sum(data.sample_counts) == 242
    assert classes_of_clients(loaded()) == [100] * 10


def test_the_samples_that_stay_are_those_of_every_run() -> None:
    first, again, other = (
        loaded("data.imbalance=10", *more).splits.train.pick(torch.arange(300))
        for more in ([], ["aggregator={name: krum}", "clients.count=5"], ["seed=1"])
    )
    assert isinstance(first, torch.Tensor)
    assert torch.equal(first, torch.as_tensor(again))
    assert torch.equal(first, torch.as_tensor(other))


def test_a_split_of_unequal_classes_is_that_of_another_run(tmp_path: Path) -> None:
    data = loaded("data.imbalance=10")
    save_or_check_split(tmp_path, data.client_indices, data.splits.train.labels, data.digest, data.validation)
    partition = f"data.partition={{name: file, path: {tmp_path / 'partition.json'}}}"
    again = loaded("data.imbalance=10", "seed=1", partition)
    for client in range(len(data.client_indices)):
        ours, theirs = (torch.as_tensor(one.splits.train.pick(one.client_indices[client])) for one in (data, again))
        assert torch.equal(ours, theirs)
    with pytest.raises(ConfigError, match=r"take a split of the same data, with the same data\.imbalance"):
        loaded(partition)
