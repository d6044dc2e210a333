"""Seeds derived from a purpose."""

import random
import traceback
from itertools import islice

import numpy as np
import pytest
import torch

from fedsim.seeds import derive_seed, seeded


def test_the_first_draws_are_the_same_for_the_same_purpose_only() -> None:
    first = [derive_seed(0, purpose, *ids) for purpose in ("a", "b") for ids in ((), (0,), (1,), (0, 1), (1, 0))]
    assert len(set(first)) == len(first)
    assert list(islice(first, 1)) == [derive_seed(0, "a")]


def draws() -> tuple[list[float], float, float]:
    """What the three global generators give next."""
    return torch.rand(3).tolist(), random.random(), float(np.random.rand())


def test_a_block_draws_as_after_seeding_by_hand_and_leaves_the_generators_as_they_were() -> None:
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)
    of_seed_7 = draws()
    torch.manual_seed(1)
    random.seed(2)
    np.random.seed(3)
    undisturbed = draws()
    torch.manual_seed(1)
    random.seed(2)
    np.random.seed(3)
    with seeded(7):
        inside = draws()
    assert inside == of_seed_7
    assert draws() == undisturbed


def test_a_block_asks_no_accelerator_that_is_not_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would write down the call stack, which takes longer than a small client's optimiser step."""
    asked: list[int] = []

    def stack(*_: object) -> list[str]:
        asked.append(1)
        return []

    monkeypatch.setattr(traceback, "format_stack", stack)
    torch.manual_seed(7)
    assert asked or torch.cuda.is_available(), (
        "this version of torch asks none, so seeded() may use torch.manual_seed"
    )
    asked.clear()
    with seeded(7):
        pass
    assert not asked


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_block_seeds_the_gpu_it_is_given_and_leaves_its_generator_as_it_was() -> None:
    gpu = torch.device("cuda", 0)

    def drawn() -> list[float]:
        return torch.rand(3, device=gpu).tolist()

    torch.cuda.manual_seed(7)
    of_seed_7 = drawn()
    torch.cuda.manual_seed(1)
    undisturbed = drawn()
    torch.cuda.manual_seed(1)
    with seeded(7, gpu):
        inside = drawn()
    assert inside == of_seed_7
    assert drawn() == undisturbed
