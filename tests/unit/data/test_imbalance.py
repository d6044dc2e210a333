"""Which training samples stay where classes are to have unequal sizes."""

import pytest
import torch

from fedsim.data.imbalance import draw_imbalanced, long_tailed_sizes
from fedsim.errors import ConfigError
from support.randomness import seeded

EQUAL = torch.arange(10).repeat_interleave(500)


def by_the_papers_code(largest: int, classes: int, factor: float) -> list[int]:
    """img_max * imb_factor ** (class / (classes - 1)), cut off, as LDAM's CIFAR-10 has it; 1 / factor there."""
    return [int(largest * (1 / factor) ** (label / (classes - 1.0))) for label in range(classes)]


@pytest.mark.parametrize("factor", [1.5, 10, 50, 200])
def test_sizes_are_those_of_long_tailed_cifar(factor: float) -> None:
    kept = draw_imbalanced(EQUAL, factor, seeded(0))
    assert len(kept.unique()) == len(kept)
    assert torch.equal(kept, kept.sort().values)
    # Ten classes of 5000 with a factor of 100 have 5000, 2997, 1796, 1077, 645, 387, 232, 139, 83 and 50 samples.
    found, theirs = EQUAL[kept].bincount().tolist(), by_the_papers_code(500, 10, factor)
    assert max(abs(one - other) for one, other in zip(found, theirs, strict=True)) <= 1  # of the last bit of a power
    assert long_tailed_sizes(torch.full((10,), 5000), 100) == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]


def test_a_class_keeps_no_more_than_it_has_and_at_least_one() -> None:
    assert long_tailed_sizes(torch.tensor([10, 4, 90, 3, 0]), 1e6) == [10, 2, 1, 1, 0]
    assert long_tailed_sizes(torch.tensor([7]), 5.0) == [7]


def test_the_draw_depends_on_the_generator_alone() -> None:
    drawn = [draw_imbalanced(EQUAL, 20.0, seeded(seed)).tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_every_sample_of_a_rare_class_can_be_drawn() -> None:
    labels = torch.tensor([0, 1]).repeat(10)
    drawn = {index for seed in range(100) for index in draw_imbalanced(labels, 5.0, seeded(seed)).tolist()}
    assert drawn == set(range(20))


def test_sequences_with_a_class_a_position_are_refused() -> None:
    with pytest.raises(ConfigError, match="a class of its own; leave it out") as caught:
        draw_imbalanced(torch.zeros(4, 3, dtype=torch.int64), 2.0, seeded(0))
    assert caught.value.key == "data.imbalance"
