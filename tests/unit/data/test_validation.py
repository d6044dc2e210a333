"""Which training samples are kept for validation."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import StratifiedShuffleSplit

from fedsim.data.validation import draw_validation, warn_of_missing_classes
from fedsim.errors import ConfigError, FedsimWarning
from support.partitions import LABELS
from support.randomness import seeded


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_classes_have_their_share_as_scikit_learn_gives_it(share: float) -> None:
    kept = draw_validation(LABELS, share, seeded(0))
    wanted = round(share * len(LABELS))
    ((_, theirs),) = StratifiedShuffleSplit(1, test_size=wanted, random_state=0).split(np.zeros(len(LABELS)), LABELS)
    ours = LABELS[kept].bincount(minlength=10)
    assert len(kept.unique()) == len(kept) == wanted == len(theirs)
    assert torch.equal(kept, kept.sort().values)
    assert (ours - LABELS[theirs].bincount(minlength=10)).abs().max() <= 1  # ties are broken otherwise
    assert ((ours - share * LABELS.bincount()).abs() < 1).all()


def test_the_draw_depends_on_the_generator_alone() -> None:
    kept = [draw_validation(LABELS, 0.2, seeded(seed)).tolist() for seed in (0, 0, 1)]
    assert kept[0] == kept[1] != kept[2]


def test_every_sample_of_a_class_can_be_drawn() -> None:
    labels = torch.tensor([0, 1]).repeat(10)
    drawn = {index for seed in range(60) for index in draw_validation(labels, 0.3, seeded(seed)).tolist()}
    assert drawn == set(range(20))


def test_whole_sequences_are_drawn() -> None:
    kept = draw_validation(torch.zeros(40, 7, dtype=torch.int64), 0.25, seeded(0))
    assert len(kept) == 10
    assert 0 <= int(kept.min()) < int(kept.max()) < 40


@pytest.mark.parametrize(("share", "remedy"), [(0.001, "larger"), (0.999, "smaller")])
def test_a_share_of_nothing_or_of_everything_is_refused(share: float, remedy: str) -> None:
    with pytest.raises(ConfigError, match=f"take a {remedy} share") as caught:
        draw_validation(LABELS[:50], share, seeded(0))
    assert caught.value.key == "data.validation"


def test_classes_that_have_no_validation_sample_are_named() -> None:
    with pytest.warns(FedsimWarning, match="among 2 validation samples there is none of 'b', 'd'"):
        warn_of_missing_classes(torch.tensor([0, 2]), ["a", "b", "c", "d"])
