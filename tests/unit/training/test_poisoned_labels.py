"""Poisoned labels, and honest clients beside them."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedsim.attacks import build_attack
from fedsim.build.attack_plan import plan_attacks
from fedsim.config.run import parse_config
from fedsim.data import TensorSamples
from fedsim.data.inputs import Inputs
from fedsim.data.labels import IGNORED
from fedsim.participation.attack_plan import AttackPlan, Campaign
from fedsim.training.client import ClientData, LocalWork, Trainer
from fedsim.training.optimizers import optimizer_maker
from fedsim.training.poisoned_labels import PoisonedLabels
from fedsim.updates.model_rows import ModelRows
from support.texts import tokens


def plan(attack: Any, count: int = 8, rounds: int = 12, seed: int = 0) -> AttackPlan:
    values = {"attack": attack, "clients": {"count": count}, "rounds": rounds, "seed": seed}
    return plan_attacks(parse_config(values))


def test_honest_clients_train_as_they_would_without_an_attack_beside_them() -> None:
    """Batches, dropout and labels of the honest are the same bits; only the poisoned clients differ, and in time."""
    generator = torch.Generator().manual_seed(0)
    samples = TensorSamples(torch.randn(40, 3, generator=generator), torch.arange(40) % 4)
    shares = [torch.arange(start, 40, 4) for start in range(4)]
    work = LocalWork(
        epochs=1, steps=None, batch_size=4, send="delta", make_optimizer=optimizer_maker("sgd", {"lr": 0.1}, "x")
    )
    torch.manual_seed(0)
    rows = ModelRows(nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 4)))
    state = torch.cat(rows.read())

    def updates(round_index: int, *campaigns: Campaign) -> list[Tensor]:
        plan = AttackPlan(campaigns, num_clients=4, rounds=9, seed=0)
        attacks = [build_attack("label_flip", mode="random") for _ in campaigns]
        labels_of = PoisonedLabels(plan, attacks, samples.labels, shares, 4, seed=0)
        trainer = Trainer(rows, ClientData(Inputs(samples), shares, labels_of), work, 0)
        outs = [torch.empty_like(state) for _ in shares]
        for client, out in enumerate(outs):
            trainer.update(client, round_index, state, out)
        return outs

    flip = Campaign(name="label_flip", clients=(1, 3), first_round=2, trains=True)
    for round_index, changed in ((1, set()), (2, {1, 3})):
        clean, poisoned = updates(round_index), updates(round_index, flip)
        assert {client for client in range(4) if not torch.equal(clean[client], poisoned[client])} == changed


def test_random_labels_are_the_same_in_every_round() -> None:
    labels, share = torch.arange(30) % 5, torch.arange(30)
    plan = AttackPlan([Campaign(name="x", clients=(0,), trains=True)], num_clients=1, rounds=3, seed=0)
    poisoned = PoisonedLabels(plan, [build_attack("label_flip", mode="random")], labels, [share], 5, seed=0)
    again = PoisonedLabels(plan, [build_attack("label_flip", mode="random")], labels, [share], 5, seed=0)
    assert torch.equal(poisoned(0, 0), poisoned(0, 2))
    assert torch.equal(poisoned(0, 0), again(0, 1))
    assert not torch.equal(poisoned(0, 0), labels)


@pytest.mark.parametrize("mode", ["reverse", "random", "pairs"])
def test_labels_of_positions_are_poisoned_one_by_one_and_padding_stays(mode: str) -> None:
    labels = tokens(6, 5, 4).labels
    plan = AttackPlan([Campaign(name="x", clients=(0,), trains=True)], num_clients=2, rounds=3, seed=0)
    shares = [torch.tensor([5, 0, 3]), torch.tensor([1, 2, 4])]
    poisoned = PoisonedLabels(plan, [build_attack("label_flip", mode=mode)], labels, shares, 4, seed=0)
    clean, flipped = labels[shares[0]], poisoned(0, 0)
    assert torch.equal(poisoned(1, 0), labels[shares[1]])
    assert torch.equal(flipped == IGNORED, clean == IGNORED)
    assert (clean == IGNORED).any()
    assert ((flipped != clean) == (clean != IGNORED)).all()
    assert flipped.max() < 4
    if mode == "reverse":
        assert torch.equal(flipped[clean != IGNORED], 3 - clean[clean != IGNORED])
