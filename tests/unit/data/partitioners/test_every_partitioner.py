"""What holds for every partitioner."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedsim.data.partitioners import partitioners
from fedsim.errors import ConfigError
from support.partitions import LABELS, PARTITIONERS, as_lists, split

NOT_RANDOM = ("file", "natural")
"""They share samples out as somebody else did."""


STRICT = ("natural", "pathological", "shards")
"""They refuse to leave a client without any sample."""


@pytest.mark.parametrize(
    ("name", "clients"),
    [
        (name, clients)
        for name in PARTITIONERS
        for clients in (1, 2, 7, 300, 997)
        if (name, clients) != (STRICT[1], 997)
    ],
)
def test_every_sample_goes_to_one_client_and_nobody_is_empty(name: str, clients: int, tmp_path: Path) -> None:
    shares = split(name, LABELS, clients, tmp_path)
    assert len(shares) == clients
    assert sorted(sample for share in as_lists(shares) for sample in share) == list(range(997))
    assert all(share == sorted(share) and len(share) > 0 for share in as_lists(shares))
    assert all(share.dtype == torch.int64 for share in shares)


@pytest.mark.parametrize("name", PARTITIONERS)
def test_the_same_seed_gives_the_same_split_and_another_seed_another(name: str, tmp_path: Path) -> None:
    first, again, other = (as_lists(split(name, LABELS, 7, tmp_path, seed)) for seed in (3, 3, 4))
    assert first == again
    assert (first == other) == (name in NOT_RANDOM)


@pytest.mark.parametrize("name", PARTITIONERS)
def test_splitting_draws_from_the_generator_alone_and_leaves_the_labels(name: str, tmp_path: Path) -> None:
    labels, torch_state, numpy_state = LABELS.clone(), torch.get_rng_state(), pickle.dumps(np.random.get_state())
    split(name, labels, 7, tmp_path)
    assert torch.equal(labels, LABELS)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert pickle.dumps(np.random.get_state()) == numpy_state


@pytest.mark.parametrize("name", PARTITIONERS)
def test_one_class_alone_can_be_split(name: str, tmp_path: Path) -> None:
    shares = split(name, torch.full((50,), 3), 7, tmp_path)
    assert sorted(sample for share in as_lists(shares) for sample in share) == list(range(50))
    assert min(map(len, shares)) >= 1


@pytest.mark.parametrize("clients", [7, 99])
@pytest.mark.parametrize("name", PARTITIONERS)
def test_every_client_has_the_samples_that_are_asked_for(name: str, clients: int, tmp_path: Path) -> None:
    shares = split(name, LABELS, clients, tmp_path, min_samples=10)
    assert min(map(len, shares)) >= 10
    assert sorted(sample for share in as_lists(shares) for sample in share) == list(range(997))


@pytest.mark.parametrize("name", PARTITIONERS)
def test_more_samples_than_there_are_cannot_be_asked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="100 clients with 10 samples each cannot share 997") as caught:
        split(name, LABELS, 100, tmp_path, min_samples=10)
    assert caught.value.key == "clients.count"


@pytest.mark.parametrize("name", PARTITIONERS)
def test_more_clients_than_samples_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="998 clients with 1 sample each cannot share 997") as caught:
        split(name, LABELS, 998, tmp_path)
    assert caught.value.key == "clients.count"


@pytest.mark.parametrize("name", [name for name in PARTITIONERS if name not in STRICT])
def test_clients_may_be_empty_where_that_is_allowed(name: str, tmp_path: Path) -> None:
    shares = split(name, LABELS[:5], 9, tmp_path, min_samples=0)
    assert sorted(sample for share in as_lists(shares) for sample in share) == list(range(5))
    assert sum(len(share) == 0 for share in shares) >= 4


@pytest.mark.parametrize("name", PARTITIONERS)
def test_the_least_number_of_samples_is_not_negative(name: str) -> None:
    with pytest.raises(ConfigError, match="min_samples"):
        partitioners.build(name, min_samples=-1)


@pytest.mark.parametrize("name", [name for name in PARTITIONERS if name != "natural"])
def test_other_partitioners_give_tests_to_nobody(name: str) -> None:
    assert partitioners.build(name).owners_of_tests({"site": ["a"]}, {"site": ["a"]}) is None


@pytest.mark.parametrize(
    "name", ["dirichlet", "inner_dirichlet", "pathological", "quantity", "exponential", "square"]
)
def test_many_clients_and_an_extreme_skew_come_to_an_end(name: str, tmp_path: Path) -> None:
    labels = torch.arange(20_000) % 10
    settings: dict[str, Any] = {"alpha": 1e-6} if "alpha" in partitioners.describe()[name].settings else {}
    shares = split(name, labels, 2_000, tmp_path, min_samples=7, **settings)
    assert min(map(len, shares)) >= 7
    assert sorted(torch.cat(shares).tolist()) == list(range(20_000))


@pytest.mark.parametrize("name", PARTITIONERS)
def test_sequences_with_a_class_for_each_position_are_split_as_one_sample_or_refused(
    name: str, tmp_path: Path
) -> None:
    sequences = LABELS[:990].view(99, 10)
    if partitioners.get(name).by_class:
        with pytest.raises(ConfigError, match=r"take one of .*iid.*natural.*quantity") as caught:
            split(name, sequences, 7, tmp_path)
        assert caught.value.key == "data.partition.name"
        return
    shares = as_lists(split(name, sequences, 7, tmp_path))
    assert sorted(sample for share in shares for sample in share) == list(range(99))
    if name != "file":  # which knows the labels that it was made for
        assert shares == as_lists(split(name, LABELS[:99], 7, tmp_path))
