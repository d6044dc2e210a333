"""A fixed number of classes for each client."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedsim.errors import ConfigError
from support.partitions import LABELS, split, table

OF_CLASS = torch.bincount(LABELS).tolist()
TENS = torch.arange(120) % 10


@pytest.mark.parametrize("assignment", ["random", "deterministic", "first-deterministic"])
@pytest.mark.parametrize(("clients", "each"), [(10, 2), (7, 4), (23, 1), (4, 10), (30, 3)])
def test_each_client_has_so_many_classes_and_a_class_is_distributed_evenly(
    assignment: str, clients: int, each: int, tmp_path: Path
) -> None:
    for seed in range(3):
        shares = split(
            "pathological", LABELS, clients, tmp_path, seed, classes_per_client=each, assignment=assignment
        )
        counts = table(LABELS, shares)
        assert ((counts > 0).sum(1) == each).all()
        for label in range(10):
            held = counts[counts[:, label] > 0, label]
            assert int(held.sum()) == OF_CLASS[label]
            assert int(held.max() - held.min()) <= 1


@pytest.mark.parametrize(("clients", "each"), [(7, 4), (10, 2), (23, 3)])
def test_deterministic_classes_follow_each_other_and_are_cut_as_by_numpy(
    clients: int, each: int, tmp_path: Path
) -> None:
    """flwr-datasets' rule: class c, in the order of its clients, in the pieces of ``array_split``."""
    wanted = np.zeros((clients, 10), dtype=int)
    for label in range(10):
        having = [client for client in range(clients) if label in {(client + i) % 10 for i in range(each)}]
        pieces = np.array_split(np.arange(OF_CLASS[label]), len(having))
        wanted[having, label] = [len(piece) for piece in pieces]
    shares = split("pathological", LABELS, clients, tmp_path, classes_per_client=each, assignment="deterministic")
    assert np.array_equal(table(LABELS, shares).numpy(), wanted)


def classes_of(clients: int, each: int, assignment: str, folder: Path, draws: int) -> torch.Tensor:
    """Which client has which class, of several draws [draws, K, 10]."""
    tables = []
    for seed in range(draws):
        shares = split("pathological", TENS, clients, folder, seed, classes_per_client=each, assignment=assignment)
        tables.append(torch.stack([torch.bincount(TENS[share], minlength=10) > 0 for share in shares]))
    return torch.stack(tables)


def test_random_classes_are_any(tmp_path: Path) -> None:
    held = classes_of(12, 3, "random", tmp_path, 100).double()
    assert bool(((held.mean(0) - 0.3).abs() < 5 * np.sqrt(0.3 * 0.7 / 100)).all())
    together = (held[..., 0] * held[..., 1]).mean()  # of 45 pairs, a client has 3
    assert abs(float(together) - 3 / 45) < 5 * np.sqrt(3 / 45 / 1200)


def test_the_first_class_is_fixed_and_the_others_are_any(tmp_path: Path) -> None:
    held = classes_of(12, 3, "first-deterministic", tmp_path, 100)
    for client in range(12):
        assert bool(held[:, client, client % 10].all())
        others = held[:, client].double().mean(0)[torch.arange(10) != client % 10]
        assert bool(((others - 2 / 9).abs() < 5 * np.sqrt(2 / 9 * 7 / 9 / 100)).all())


@pytest.mark.parametrize("assignment", ["random", "first-deterministic"])
def test_classes_that_are_just_enough_all_have_a_client(assignment: str, tmp_path: Path) -> None:
    held = classes_of(5, 2, assignment, tmp_path, 40)
    assert bool((held.sum(1) == 1).all())
    assert len({tuple(one.flatten().tolist()) for one in held}) > 30
    if assignment == "first-deterministic":
        assert all(bool(held[:, client, client].all()) for client in range(5))


@pytest.mark.parametrize(
    ("clients", "settings", "words"),
    [
        (
            4,
            {"classes_per_client": 2},
            "4 clients with 2 each do not have all of the 10 classes; set it to 3 or more",
        ),
        (
            7,
            {"classes_per_client": 3, "assignment": "deterministic"},
            "7 clients with 3 each do not have all of the 10 classes; set it to 4 or more",
        ),
        (4, {"classes_per_client": 11}, "11, but the data have 10; set it to 10 or less"),
        (99, {"classes_per_client": 10}, r"class 1 has 97 samples for 99 clients; take fewer"),
    ],
)
def test_what_cannot_be_is_refused(clients: int, settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        split("pathological", LABELS, clients, tmp_path, **settings)
    assert caught.value.key == "data.partition.classes_per_client"
