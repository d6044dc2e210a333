"""Flipped labels."""

import math

import pytest
import torch

from fedsim.attacks import build_attack


def flip(mode: str, labels: list[int], classes: int, seed: int = 0) -> list[int]:
    attack = build_attack("label_flip", mode=mode)
    before = torch.tensor(labels)
    given = before.clone()
    flipped = attack.poison_labels(given, classes, torch.Generator().manual_seed(seed))
    assert torch.equal(given, before)
    assert flipped.dtype == before.dtype
    return flipped.tolist()


def test_reverse_flips_to_the_mirrored_class() -> None:
    assert flip("reverse", [0, 1, 2, 3, 4, 4], 5) == [4, 3, 2, 1, 0, 0]
    assert flip("reverse", list(range(10)), 10) == list(range(9, -1, -1))


def test_pairs_swap_neighbours_and_leave_an_odd_last_class() -> None:
    assert flip("pairs", [0, 1, 2, 3, 3, 0], 4) == [1, 0, 3, 2, 2, 1]
    assert flip("pairs", [0, 1, 2, 3, 4, 4], 5) == [1, 0, 3, 2, 4, 4]
    assert flip("pairs", [0, 0], 1) == [0, 0]


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_random_never_keeps_a_label_and_reaches_every_other_class_evenly(classes: int) -> None:
    per_class = 3000
    labels = [label for label in range(classes) for _ in range(per_class)]
    flipped = torch.tensor(flip("random", labels, classes)).view(classes, per_class)
    for label, row in enumerate(flipped):
        counts = row.bincount(minlength=classes)
        assert counts.sum() == per_class
        assert len(counts) == classes
        assert counts[label] == 0
        expected = per_class / (classes - 1)
        others = torch.cat([counts[:label], counts[label + 1 :]])
        assert bool(((others - expected).abs() <= 6 * math.sqrt(expected)).all())


def test_random_is_fixed_by_the_generator() -> None:
    labels = [0, 1, 2, 3, 4] * 40
    assert flip("random", labels, 5, seed=1) == flip("random", labels, 5, seed=1)
    assert flip("random", labels, 5, seed=1) != flip("random", labels, 5, seed=2)
