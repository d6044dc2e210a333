"""What an attack is given."""

import dataclasses
from itertools import product
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from fedsim.attacks import Attack, AttackView
from fedsim.updates.matrix import UpdateMatrix
from support.attack_views import full_view
from support.references import random_rows

# The view ------------------------------------------------------------------------------------------


def test_a_view_wraps_tensors_and_keeps_matrices() -> None:
    rows = random_rows(5, 7)
    matrix = UpdateMatrix(rows)
    view = AttackView(honest=rows[:3], own=matrix.select([3, 4]))  # type: ignore[arg-type]
    assert (view.num_honest, view.num_byzantine) == (3, 2)
    assert torch.equal(view.honest.tensor(), rows[:3])
    assert torch.equal(view.own.tensor(), rows[3:])
    assert AttackView(honest=matrix, own=rows).honest is matrix  # type: ignore[arg-type]
    assert view.aggregator is None
    assert view.context is None


def test_a_view_is_frozen_and_keyword_only() -> None:
    view = AttackView(honest=torch.ones(2, 3), own=torch.ones(1, 3))  # type: ignore[arg-type]
    for name in ("honest", "own", "aggregator", "context"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(view, name, None)
    with pytest.raises(TypeError, match="positional"):
        AttackView(torch.ones(2, 3), torch.ones(1, 3))  # type: ignore[call-arg, arg-type]


def test_a_view_rejects_rows_of_different_length() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        AttackView(honest=torch.ones(2, 3), own=torch.ones(1, 4))  # type: ignore[arg-type]


# What an attack is given ---------------------------------------------------------------------------


class Spy(Attack):
    """Keeps the view that it gets."""

    seen: AttackView

    def craft(self, view: AttackView) -> Tensor:
        self.seen = view
        return view.own.tensor() + 1


@pytest.mark.parametrize(("sees", "does", "tries", "asks"), list(product([False, True], repeat=4)))
def test_an_attack_finds_what_it_declares_to_need_and_no_more(
    sees: bool, does: bool, tries: bool, asks: bool
) -> None:
    class Declared(Spy):
        needs_weights: bool = asks
        sees_honest: ClassVar[bool] = sees
        trains: bool = does
        probes: ClassVar[bool] = tries

    honest, own, accomplices = random_rows(3, 7), random_rows(2, 7, seed=1), random_rows(1, 7, seed=2)
    full = full_view(honest, own)
    context = dataclasses.replace(
        full.facts, client_ids=(4, 2, 9, 7, 5, 6), dropped=3, sample_counts=(40, 20, 90, 70, 50, 60)
    )
    context = dataclasses.replace(context, weights=random_rows(1, 7, seed=3)[0])
    full = dataclasses.replace(full, accomplices=UpdateMatrix(accomplices), context=context)
    attack = Declared()
    rows = attack(full)
    seen = attack.seen
    assert torch.equal(seen.honest.tensor(), honest if sees else torch.empty(0, 7))
    assert torch.equal(seen.own.tensor(), own if does else torch.zeros(2, 7))
    assert torch.equal(rows, own + 1 if does else torch.ones(2, 7))
    assert seen.aggregator is (full.aggregator if tries else None)
    assert (seen.accomplices is not None) == tries
    assert seen.honest_ids == ((4, 2, 9) if sees else ())
    assert seen.own_ids == (7, 5)
    assert seen.facts.reported_counts("").tolist() == ([40, 20, 90, 70, 50, 60] if sees else [70, 50, 60])
    assert seen.facts.dropped == 3
    assert seen.facts.last_step is context.last_step
    assert seen.facts.generator is context.generator
    assert seen.facts.weights is (context.weights if asks else None)
    assert full.facts is context


def test_without_honest_rows_an_attack_that_sees_them_is_not_asked() -> None:
    class Seeing(Spy):
        trains = True

    own = random_rows(2, 7)
    attack = Seeing()
    assert torch.equal(attack(full_view(torch.empty(0, 7), own)), own)
    assert not hasattr(attack, "seen")
