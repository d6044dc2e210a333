"""Validation samples and the split over clients: every training sample is in one of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch

from fedsim.build.components import build_components
from fedsim.build.data import Divided, partition
from fedsim.data import TensorSamples
from fedsim.data.split_file import read_split, save_or_check_split, write_split
from fedsim.errors import ConfigError
from support.configuration import configured
from support.partitions import LABELS, as_lists

NOTHING = TensorSamples(torch.zeros(1), torch.zeros(1, dtype=torch.int64), {"site": [""]})
SITES = {"site": [str(index % 8) for index in range(len(LABELS))]}


def divided(*overrides: str, columns: Mapping[str, Sequence[str]] | None = None) -> Divided:
    components = build_components(configured("data.name=synthetic", "model.name=mlp", *overrides))
    return partition(components, TensorSamples(LABELS, LABELS, columns or {}), NOTHING)


@pytest.mark.parametrize("how", ["{name: dirichlet, alpha: 0.3}", "{name: iid}", "{name: natural, column: site}"])
def test_each_sample_is_a_clients_or_kept_for_validation(how: str) -> None:
    found = divided("data.validation=0.1", f"data.partition={how}", columns=SITES)
    assert len(found.validation) == 100
    assert sorted(torch.cat([*found.clients, found.validation]).tolist()) == list(range(len(LABELS)))
    assert all(torch.equal(of_client, of_client.sort().values) for of_client in found.clients)


def test_the_same_samples_are_kept_whatever_attacks_and_defends() -> None:
    first = divided("data.validation=0.1")
    other = divided("data.validation=0.1", "attack=[]", "aggregator={name: krum}", "clients.count=5", "rounds=3")
    assert torch.equal(first.validation, other.validation)
    assert not torch.equal(first.validation, divided("data.validation=0.1", "seed=1").validation)


def test_without_a_share_nothing_is_kept_and_clients_have_what_they_had() -> None:
    natural = ["data.partition={name: natural, column: site}"]
    plain, validated = divided(*natural, columns=SITES), divided(*natural, "data.validation=0.2", columns=SITES)
    assert len(plain.validation) == 0
    kept = set(validated.validation.tolist())
    assert as_lists(validated.clients) == [
        [index for index in of_client if index not in kept] for of_client in as_lists(plain.clients)
    ]


def saved(folder: Path, found: Divided) -> str:
    write_split(folder / "split.json", found.clients, LABELS, validation=found.validation)
    return f"data.partition={{name: file, path: {folder / 'split.json'}}}"


def test_a_saved_split_keeps_its_validation_samples(tmp_path: Path) -> None:
    first = divided("data.validation=0.1")
    again = divided(saved(tmp_path, first), "data.validation=0.1", "seed=5")
    assert as_lists(again.clients) == as_lists(first.clients)
    assert torch.equal(again.validation, first.validation)


@pytest.mark.parametrize("share", [0, 0.2])
def test_another_share_than_that_of_a_saved_split_is_refused(share: float, tmp_path: Path) -> None:
    file = saved(tmp_path, divided("data.validation=0.1"))
    with pytest.raises(ConfigError, match=r"keeps 100 of 997 samples; set it to 0\.100301") as caught:
        divided(file, f"data.validation={share}")
    assert caught.value.key == "data.validation"
    assert len(divided(file, "data.validation=0.100301").validation) == 100


def test_from_a_saved_split_without_them_validation_samples_are_taken(tmp_path: Path) -> None:
    plain = divided()
    found = divided(saved(tmp_path, plain), "data.validation=0.1")
    assert "validation" not in read_split(tmp_path / "split.json")
    assert torch.equal(found.validation, divided("data.validation=0.1").validation)
    for of_client, before in zip(as_lists(found.clients), as_lists(plain.clients), strict=True):
        assert set(of_client) == set(before) - set(found.validation.tolist())


def test_a_resumed_run_must_have_its_validation_samples(tmp_path: Path) -> None:
    found = divided("data.validation=0.1")
    for _ in range(2):
        save_or_check_split(tmp_path, found.clients, LABELS, validation=found.validation)
    with pytest.raises(ConfigError, match="not those that"):
        save_or_check_split(tmp_path, found.clients, LABELS, validation=found.validation[1:])


def test_a_share_that_leaves_too_few_for_the_clients_is_refused() -> None:
    with pytest.raises(ConfigError, match="900 clients with 1 sample each cannot share 897") as caught:
        divided("data.validation=0.1", "clients.count=900", "data.partition={name: iid}")
    assert caught.value.key == "clients.count"
