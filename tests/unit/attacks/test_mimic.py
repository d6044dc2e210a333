"""Mimic by its definition, over rounds with changing clients."""

from collections.abc import Sequence
from typing import Any

import byzfl
import numpy as np
import pytest
import torch
from torch import Tensor

from fedsim.attacks import Attack, build_attack
from fedsim.participation.attack_plan import AttackPlan, Campaign
from fedsim.server.adversary import Adversary, Target
from fedsim.updates.context import RoundContext
from fedsim.updates.matrix import BLOCK
from support.attack_views import round_view
from support.column_ranks import AttackOnRanks, joined
from support.references import Array, random_rows
from support.states import through_a_file

# Mimic ---------------------------------------------------------------------------------------------


class DirectMimic:
    """The definition, in float64 and row by row."""

    def __init__(self, start: Array, warmup: int) -> None:
        self.z, self.m, self.t, self.warmup = start / np.linalg.norm(start), np.zeros_like(start), 0, warmup
        self.target = -1

    def choose(self, rows: dict[int, Array]) -> int:
        learning = self.t < self.warmup
        if learning:
            self.m = (self.t * self.m + sum(rows.values()) / len(rows)) / (self.t + 1)
            q = sum(((g - self.m) @ self.z) * (g - self.m) for g in rows.values())
            length = np.linalg.norm(q)
            if length > 0:
                z = q / length if self.t == 0 else self.t * self.z + q / length
                self.z = z / np.linalg.norm(z)
        if learning or self.target not in rows:
            self.target = max(sorted(rows), key=lambda client: rows[client] @ self.z)
        self.t += 1
        return self.target


def start_from(monkeypatch: pytest.MonkeyPatch, start: Tensor) -> None:
    """Let the random z be this one."""
    monkeypatch.setattr("fedsim.attacks.mimic.draw_rows", lambda *_: start[None].clone())


def drifting_rows(ids: Sequence[int], round_index: int, columns: int = 300) -> Tensor:
    """Each client's own direction, with some noise of the round."""
    base, noise = random_rows(12, columns), random_rows(12, columns, seed=100 + round_index)
    return (base + 0.6 * noise)[list(ids)]


@pytest.mark.parametrize("warmup", [1, 3, 5])
@pytest.mark.parametrize("present", [12, 5, 2])
@pytest.mark.parametrize("seed", range(4))
def test_mimic_is_the_power_iteration(monkeypatch: pytest.MonkeyPatch, seed: int, present: int, warmup: int) -> None:
    start = random_rows(1, 300, seed=70 + seed)[0]
    start_from(monkeypatch, start)
    attack, direct = build_attack("mimic", warmup_rounds=warmup), DirectMimic(start.double().numpy(), warmup)
    generator = torch.Generator().manual_seed(seed)
    targets = []
    for round_index in range(9):
        ids = torch.randperm(12, generator=generator)[:present].tolist()
        rows = drifting_rows(ids, round_index)
        target = direct.choose(dict(zip(ids, rows.double().numpy(), strict=True)))
        sent = attack(round_view(rows, torch.zeros(2, 300), ids=ids, round_index=round_index))
        assert attack.diagnostics == {"target": float(target)}
        assert torch.equal(sent, rows[ids.index(target)].expand(2, -1))
        targets.append(target)
        state = attack.state_dict()
        np.testing.assert_allclose(state["direction"].double().numpy(), direct.z, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(state["mean"].double().numpy(), direct.m, rtol=1e-5, atol=1e-6)
    if present == 12:
        assert len(set(targets[warmup - 1 :])) == 1


def test_mimic_finds_the_direction_of_most_variance() -> None:
    attack = build_attack("mimic")
    for round_index in range(5):
        rows = random_rows(8, 50, seed=round_index)
        rows[:, 7] += torch.tensor([-30.0, -20, -10, 0, 10, 20, 30, 40])
        attack(round_view(rows, torch.zeros(1, 50), round_index=round_index))
    assert abs(float(attack.state_dict()["direction"][7])) > 0.98
    assert attack.diagnostics["target"] in (0.0, 7.0)


def warmed_up(rounds: int = 2, **settings: Any) -> Attack:
    """Two rounds of warm-up along the first coordinate, that end with the client of the largest value there."""
    attack = build_attack("mimic", warmup_rounds=rounds, **settings)
    attack.load_state_dict(
        {"mean": torch.zeros(3), "direction": torch.tensor([1.0, 0.0, 0.0]), "rounds": 1, "target": 4}
    )
    rows = torch.tensor([[-9.0, 0, 0], [8.0, 0, 0], [10.0, 1, 0]])
    attack(round_view(rows, torch.zeros(1, 3), ids=[4, 6, 2]))
    assert attack.diagnostics == {"target": 2.0}
    return attack


def test_mimic_stays_with_its_target_and_chooses_another_for_good_when_it_is_away() -> None:
    attack = warmed_up()
    direction = attack.state_dict()["direction"].clone()
    chosen = []
    for ids, first in [
        ([4, 6, 2], [50.0, 9, -1]),  # it stays, however far others are
        ([4, 6, 3], [1.0, 9, 2]),  # away
        ([4, 6, 2], [50.0, -9, 60]),  # back, too late
        ([4, 2], [5.0, -9]),
    ]:
        rows = torch.zeros(len(ids), 3)
        rows[:, 0] = torch.tensor(first)
        sent = attack(round_view(rows, torch.zeros(2, 3), ids=ids))
        chosen.append(ids[int(sent[0, 0].eq(rows[:, 0]).nonzero())])
        assert attack.diagnostics["target"] == chosen[-1]
    assert chosen == [2, 6, 6, 4]
    assert torch.equal(attack.state_dict()["direction"], direction)


def test_mimic_counts_the_rounds_in_which_it_acts() -> None:
    attack = build_attack("mimic", warmup_rounds=2)
    for round_index in (3, 7):
        attack.observe(round_view(random_rows(4, 9), torch.zeros(1, 9)).facts)
        attack(round_view(torch.empty(0, 9), torch.zeros(1, 9)))  # nobody to learn from
        attack(round_view(random_rows(4, 9, seed=round_index), torch.zeros(1, 9), round_index=round_index))
    learnt = attack.state_dict()
    assert learnt["rounds"] == 2
    attack(round_view(random_rows(4, 9, seed=8), torch.zeros(1, 9), round_index=8))
    assert attack.state_dict()["direction"] is learnt["direction"]


@pytest.mark.parametrize("ids", [(9, 4, 7), (4, 7, 9), (7, 9, 4)])
@pytest.mark.parametrize(("rounds", "ranks"), [(1, 1), (3, 1), (3, 3)])
def test_mimic_takes_the_lowest_id_of_equal_rows(ids: tuple[int, ...], rounds: int, ranks: int) -> None:
    columns = 2 * BLOCK + 11
    attack = AttackOnRanks(build_attack("mimic"), ranks)
    for round_index in range(rounds):
        rows = random_rows(1, columns, seed=round_index).expand(3, -1)
        attack(round_view(rows, torch.zeros(1, columns), ids=ids, round_index=round_index))
        assert attack.diagnostics == {"target": 4.0}


def test_mimic_takes_the_lowest_id_of_products_that_differ_by_rounding_only(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = 2 * BLOCK
    start_from(monkeypatch, torch.ones(columns))
    values = random_rows(1, columns)[0]
    orders = [torch.randperm(columns, generator=torch.Generator().manual_seed(seed)) for seed in range(5)]
    rows = torch.stack([values[order] for order in orders])  # the same sum, added up in other orders
    attack = build_attack("mimic", warmup_rounds=1)
    attack.load_state_dict(
        {"mean": torch.zeros(columns), "direction": torch.ones(columns) / columns**0.5, "rounds": 1, "target": 50}
    )
    attack(round_view(rows, torch.zeros(1, columns), ids=[31, 12, 8, 44, 23]))
    assert attack.diagnostics == {"target": 8.0}


def test_mimic_of_a_single_honest_row_keeps_the_random_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    start = random_rows(1, 33, seed=3)[0]
    start_from(monkeypatch, start)
    attack = build_attack("mimic")
    rows = random_rows(1, 33)
    sent = attack(round_view(rows, torch.zeros(2, 33), ids=[6]))
    assert torch.equal(sent, rows.expand(2, -1))
    torch.testing.assert_close(attack.state_dict()["direction"], start / start.norm())


def test_the_random_direction_depends_on_the_generator_alone() -> None:
    columns = BLOCK + 3

    def direction(honest: Tensor, seed: int = 5, ranks: int = 1) -> Tensor:
        attack = AttackOnRanks(build_attack("mimic"), ranks)
        attack(round_view(honest, torch.zeros(1, columns), seed=seed))
        return joined([rank.state_dict()["direction"] for rank in attack.ranks])

    row = random_rows(1, columns)
    whole = direction(row)
    assert torch.equal(direction(row, ranks=2), whole)
    assert torch.equal(direction(2 * row), whole)
    assert not torch.equal(direction(row, seed=6), whole)
    assert float(whole.double().norm()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_mimic_does_not_depend_on_the_scale_of_the_rows(scale: float) -> None:
    one, other = build_attack("mimic"), build_attack("mimic")
    for round_index in range(3):
        rows = drifting_rows(range(6), round_index)
        one(round_view(rows, torch.zeros(1, 300)))
        other(round_view(rows * scale, torch.zeros(1, 300)))
        assert other.diagnostics == one.diagnostics
    torch.testing.assert_close(other.state_dict()["direction"], one.state_dict()["direction"], rtol=1e-4, atol=1e-6)


def test_mimic_sends_what_byzfl_sends_for_the_same_client() -> None:
    rows = random_rows(6, 40)
    attack = build_attack("mimic")
    sent = attack(round_view(rows, torch.zeros(1, 40)))
    assert torch.equal(sent[0], byzfl.Mimic(int(attack.diagnostics["target"]))(rows))


# Its buffers ---------------------------------------------------------------------------------------


def play(adversary: Adversary, round_index: int, absent: int | None = None) -> tuple[Tensor, Tensor, list[int]]:
    """A round of clients 0 to 6, the last two Byzantine: the rows and the buffers that come out."""
    ids = [client for client in range(7) if client != absent]
    rows, buffers = random_rows(7, 40, seed=round_index)[ids], random_rows(7, 4, seed=50 + round_index)[ids]
    context = RoundContext(round=round_index, client_ids=tuple(ids))
    adversary.replace_rows(Target(rows, None, context), Target(buffers, None, context))
    return rows, buffers, ids


def adversary_of(attack: Attack) -> Adversary:
    campaign = Campaign(name=attack.name, clients=(5, 6), trains=attack.trains)
    return Adversary(AttackPlan([campaign], num_clients=7, rounds=20, seed=0), [attack], seed=3)


def test_buffers_are_those_of_the_client_that_is_copied_also_after_a_resumption() -> None:
    attack = build_attack("mimic", warmup_rounds=3)
    adversary, targets = adversary_of(attack), list[int]()
    for round_index in range(12):
        if round_index in (2, 5):
            state = through_a_file(adversary.state_dict())
            assert state["buffer_attacks"] == [{}]
            attack = build_attack("mimic", warmup_rounds=3)
            adversary = adversary_of(attack)
            adversary.load_state_dict(state)
        rows, buffers, ids = play(adversary, round_index, absent=targets[-1] if round_index in (7, 9) else None)
        target = int(attack.diagnostics["target"])
        for client in (5, 6):
            assert torch.equal(rows[ids.index(client)], rows[ids.index(target)])
            assert torch.equal(buffers[ids.index(client)], buffers[ids.index(target)])
        targets.append(target)
    assert len(set(targets)) > 1
    assert len(set(targets[2:7])) == 1
    assert targets[6] != targets[7]


def test_without_buffers_of_its_target_mimic_sends_their_mean() -> None:
    attack = build_attack("mimic")
    buffers = attack.for_buffers()
    attack(round_view(random_rows(2, 9), torch.zeros(1, 9), ids=[3, 4]))
    values = random_rows(2, 4)
    sent = buffers(round_view(values, torch.zeros(1, 4), ids=[7, 8]))
    torch.testing.assert_close(sent[0], values.mean(0))
